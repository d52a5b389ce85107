// One operation with aws-sdk-go-v2: its name and arguments on the command line, the place in the environment.
package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	_ "unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const partSize = 8 << 20

// What the SDK takes for the time. It asks the kernel without a library's help, so nothing else can shift its clock.
//
//go:linkname sdkNow github.com/aws/aws-sdk-go-v2/internal/sdk.NowTime
var sdkNow func() time.Time

func run(operation string, a []string) error {
	ctx := context.Background()
	if shift, err := time.ParseDuration(os.Getenv("CLOCK_SHIFT")); err == nil {
		sdkNow = func() time.Time { return time.Now().Add(shift) }
	}
	attempts, err := strconv.Atoi(os.Getenv("ATTEMPTS"))
	if err != nil {
		attempts = 1
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRetryMaxAttempts(attempts))
	if err != nil {
		return err
	}
	client := s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.BaseEndpoint = aws.String(os.Getenv("URL"))
		o.UsePathStyle = os.Getenv("STYLE") == "path"
	})
	upload := func(body io.Reader) error {
		uploader := manager.NewUploader(client, func(u *manager.Uploader) { u.PartSize = partSize })
		_, err := uploader.Upload(ctx, &s3.PutObjectInput{Bucket: &a[0], Key: &a[1], Body: body})
		return err
	}
	switch operation {
	case "make-bucket":
		_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &a[0]})
		return err
	case "remove-bucket":
		_, err = client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &a[0]})
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
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &a[0], Key: &a[1], Body: file})
		return err
	case "put-stream":
		return upload(struct{ io.Reader }{os.Stdin})
	case "get", "range":
		input := &s3.GetObjectInput{Bucket: &a[0], Key: &a[1]}
		target := os.Stdout
		if operation == "range" {
			input.Range = aws.String("bytes=" + a[2] + "-" + a[3])
		} else if target, err = os.Create(a[2]); err != nil {
			return err
		}
		answer, err := client.GetObject(ctx, input)
		if err != nil {
			return err
		}
		_, err = io.Copy(target, answer.Body)
		return err
	case "list":
		pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &a[0], Prefix: &a[1]})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, item := range page.Contents {
				fmt.Println(*item.Key)
			}
		}
		return nil
	case "copy":
		// A plus is a space there, and PathEscape leaves it.
		source := a[0] + "/" + strings.ReplaceAll(url.QueryEscape(a[1]), "+", "%20")
		_, err = client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &a[2], Key: &a[3], CopySource: &source})
		return err
	case "head":
		answer, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &a[0], Key: &a[1]})
		if err == nil {
			fmt.Println(*answer.ContentLength)
		}
		return err
	case "presign":
		input := &s3.GetObjectInput{Bucket: &a[0], Key: &a[1]}
		signed, err := s3.NewPresignClient(client).PresignGetObject(ctx, input, s3.WithPresignExpires(10*time.Minute))
		if err == nil {
			fmt.Println(signed.URL)
		}
		return err
	case "delete-many":
		doomed := &types.Delete{}
		for _, key := range a[1:] {
			doomed.Objects = append(doomed.Objects, types.ObjectIdentifier{Key: aws.String(key)})
		}
		answer, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &a[0], Delete: doomed})
		if err == nil && len(answer.Errors) > 0 {
			err = fmt.Errorf("%s", *answer.Errors[0].Code)
		}
		return err
	}
	return fmt.Errorf("no operation %s", operation)
}

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
