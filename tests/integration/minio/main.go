// Put and get objects with minio-go: signed chunks over http, with a signed trailer on request.
//
// Arguments: endpoint, access key, secret, bucket, size in bytes, "trailer" or "plain", "https" or "http".
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func run(arguments []string) error {
	size, err := strconv.Atoi(arguments[4])
	if err != nil {
		return err
	}
	client, err := minio.New(arguments[0], &minio.Options{
		Creds:           credentials.NewStaticV4(arguments[1], arguments[2], ""),
		Secure:          arguments[6] == "https",
		Region:          "us-east-1",
		TrailingHeaders: arguments[5] == "trailer",
	})
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	key := fmt.Sprintf("minio-go-%s-%s-%d", arguments[5], arguments[6], size)
	options := minio.PutObjectOptions{ContentType: "text/plain", PartSize: 16 << 20}
	if arguments[5] == "trailer" {
		options.UserMetadata = map[string]string{"trailing": "yes"}
	}
	ctx := context.Background()
	if _, err = client.PutObject(ctx, arguments[3], key, bytes.NewReader(body), int64(size), options); err != nil {
		return err
	}
	object, err := client.GetObject(ctx, arguments[3], key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	back, err := io.ReadAll(object)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, body) {
		return fmt.Errorf("%d bytes came back, %d were put, and they differ", len(back), len(body))
	}
	return client.RemoveObject(ctx, arguments[3], key, minio.RemoveObjectOptions{})
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
