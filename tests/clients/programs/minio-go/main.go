// One operation with minio-go: its name and arguments on the command line, the place in the environment.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const partSize = 8 << 20

func run(operation string, a []string) error {
	lookup := minio.BucketLookupPath
	if os.Getenv("STYLE") == "virtual" {
		lookup = minio.BucketLookupDNS
	}
	client, err := minio.New(os.Getenv("ADDRESS"), &minio.Options{
		Creds:           credentials.NewStaticV4(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
		Secure:          os.Getenv("SCHEME") == "https",
		Region:          "us-east-1",
		BucketLookup:    lookup,
		TrailingHeaders: os.Getenv("TRAILERS") != "",
		MaxRetries:      1,
	})
	if err != nil {
		return err
	}
	ctx := context.Background()
	options := minio.PutObjectOptions{PartSize: partSize}
	switch operation {
	case "make-bucket":
		return client.MakeBucket(ctx, a[0], minio.MakeBucketOptions{})
	case "remove-bucket":
		return client.RemoveBucket(ctx, a[0])
	case "put", "put-large":
		_, err = client.FPutObject(ctx, a[0], a[1], a[2], options)
		return err
	case "put-stream":
		// Without the type of a file its length is not known.
		stream := struct{ io.Reader }{os.Stdin}
		_, err = client.PutObject(ctx, a[0], a[1], stream, -1, options)
		return err
	case "get":
		return client.FGetObject(ctx, a[0], a[1], a[2], minio.GetObjectOptions{})
	case "range":
		first, _ := strconv.ParseInt(a[2], 10, 64)
		last, _ := strconv.ParseInt(a[3], 10, 64)
		wanted := minio.GetObjectOptions{}
		if err = wanted.SetRange(first, last); err != nil {
			return err
		}
		object, err := client.GetObject(ctx, a[0], a[1], wanted)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, object)
		return err
	case "list":
		for item := range client.ListObjects(ctx, a[0], minio.ListObjectsOptions{Prefix: a[1], Recursive: true}) {
			if item.Err != nil {
				return item.Err
			}
			fmt.Println(item.Key)
		}
		return nil
	case "copy":
		source := minio.CopySrcOptions{Bucket: a[0], Object: a[1]}
		_, err = client.CopyObject(ctx, minio.CopyDestOptions{Bucket: a[2], Object: a[3]}, source)
		return err
	case "head":
		found, err := client.StatObject(ctx, a[0], a[1], minio.StatObjectOptions{})
		if err == nil {
			fmt.Println(found.Size)
		}
		return err
	case "presign":
		url, err := client.Presign(ctx, http.MethodGet, a[0], a[1], 10*time.Minute, nil)
		if err == nil {
			fmt.Println(url)
		}
		return err
	case "delete-many":
		doomed := make(chan minio.ObjectInfo, len(a))
		for _, key := range a[1:] {
			doomed <- minio.ObjectInfo{Key: key}
		}
		close(doomed)
		for failed := range client.RemoveObjects(ctx, a[0], doomed, minio.RemoveObjectsOptions{}) {
			err = failed.Err
		}
		return err
	}
	return fmt.Errorf("no operation %s", operation)
}

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		if answer := minio.ToErrorResponse(err); answer.Code != "" {
			fmt.Fprintf(os.Stderr, "(%s) status %d: ", answer.Code, answer.StatusCode)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
