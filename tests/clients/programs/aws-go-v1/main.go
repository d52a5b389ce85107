// One operation with aws-sdk-go, version 1: its name and arguments on the command line, the place in the environment.
package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
	"github.com/aws/aws-sdk-go/service/s3/s3manager"
)

const partSize = 8 << 20

func run(operation string, a []string) error {
	configured, err := session.NewSession(&aws.Config{
		Endpoint:         aws.String(os.Getenv("URL")),
		S3ForcePathStyle: aws.Bool(os.Getenv("STYLE") == "path"),
		MaxRetries:       aws.Int(0),
	})
	if err != nil {
		return err
	}
	client := s3.New(configured)
	upload := func(body io.Reader) error {
		uploader := s3manager.NewUploaderWithClient(client, func(u *s3manager.Uploader) { u.PartSize = partSize })
		_, err := uploader.Upload(&s3manager.UploadInput{Bucket: &a[0], Key: &a[1], Body: body})
		return err
	}
	switch operation {
	case "make-bucket":
		_, err = client.CreateBucket(&s3.CreateBucketInput{Bucket: &a[0]})
		return err
	case "remove-bucket":
		_, err = client.DeleteBucket(&s3.DeleteBucketInput{Bucket: &a[0]})
		return err
	case "put", "put-large":
		file, err := os.Open(a[2])
		if err != nil {
			return err
		}
		defer file.Close()
		if operation == "put-large" {
			return upload(file)
		}
		_, err = client.PutObject(&s3.PutObjectInput{Bucket: &a[0], Key: &a[1], Body: file})
		return err
	case "put-stream":
		return upload(struct{ io.Reader }{os.Stdin})
	case "get":
		file, err := os.Create(a[2])
		if err != nil {
			return err
		}
		defer file.Close()
		// It reads large objects by several ranges at a time.
		_, err = s3manager.NewDownloaderWithClient(client).Download(file, &s3.GetObjectInput{Bucket: &a[0], Key: &a[1]})
		return err
	case "range":
		part := aws.String("bytes=" + a[2] + "-" + a[3])
		answer, err := client.GetObject(&s3.GetObjectInput{Bucket: &a[0], Key: &a[1], Range: part})
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, answer.Body)
		return err
	case "list":
		input := &s3.ListObjectsV2Input{Bucket: &a[0], Prefix: &a[1]}
		return client.ListObjectsV2Pages(input, func(page *s3.ListObjectsV2Output, _ bool) bool {
			for _, item := range page.Contents {
				fmt.Println(*item.Key)
			}
			return true
		})
	case "copy":
		// A plus is a space there, and PathEscape leaves it.
		source := a[0] + "/" + strings.ReplaceAll(url.QueryEscape(a[1]), "+", "%20")
		_, err = client.CopyObject(&s3.CopyObjectInput{Bucket: &a[2], Key: &a[3], CopySource: &source})
		return err
	case "head":
		answer, err := client.HeadObject(&s3.HeadObjectInput{Bucket: &a[0], Key: &a[1]})
		if err == nil {
			fmt.Println(*answer.ContentLength)
		}
		return err
	case "presign":
		request, _ := client.GetObjectRequest(&s3.GetObjectInput{Bucket: &a[0], Key: &a[1]})
		signed, err := request.Presign(10 * time.Minute)
		if err == nil {
			fmt.Println(signed)
		}
		return err
	case "delete-many":
		doomed := &s3.Delete{}
		for _, key := range a[1:] {
			doomed.Objects = append(doomed.Objects, &s3.ObjectIdentifier{Key: aws.String(key)})
		}
		answer, err := client.DeleteObjects(&s3.DeleteObjectsInput{Bucket: &a[0], Delete: doomed})
		if err == nil && len(answer.Errors) > 0 {
			err = fmt.Errorf("%s", *answer.Errors[0].Code)
		}
		return err
	}
	return fmt.Errorf("no operation %s", operation)
}

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		if refused, ok := err.(awserr.RequestFailure); ok {
			fmt.Fprintf(os.Stderr, "(%s) status %d: ", refused.Code(), refused.StatusCode())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
