package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	blockSize = 256 << 10
	etag      = `ETag: "5d41402abc4b2a76b9719d911017c592-1"` + "\r\n"
	modified  = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
	owner     = "<Owner><ID>bench</ID><DisplayName>bench</DisplayName></Owner>"
	document  = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
)

var (
	block = make([]byte, blockSize)
	// The objects in a listing. Their sizes are in their names.
	listed = []string{"size-1024", "size-4096", "size-1048576", "size-16777216", "size-268435456"}
	isTold = os.Getenv("LOADGEN_LOG") != ""
	asked  atomic.Int64
)

// The target for the number of requests so far. Requests for it are not counted.
const countTarget = "/-/count"

// serve responds as a storage system that has every object: `/bucket/size-N` is N bytes.
func serve(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serveConnection(connection)
	}
}

func serveConnection(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 64<<10)
	discarder := newDiscarder(connection, reader)
	for {
		request, err := readHead(reader)
		if err != nil {
			return
		}
		method, rest, _ := strings.Cut(request.line, " ")
		target, _, _ := strings.Cut(rest, " ")
		if target == countTarget {
			text := strconv.FormatInt(asked.Load(), 10)
			_, _ = fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			return
		}
		asked.Add(1)
		if request.expects {
			if _, err := connection.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
				return
			}
		}
		size, err := discarder.skipBody(request)
		if err != nil {
			return
		}
		if isTold {
			log.Println(method, target, size, request.chunked, request.rangeOf)
		}
		if err := respond(connection, method, target, request.rangeOf); err != nil || request.closes {
			return
		}
	}
}

func respond(connection net.Conn, method, target, rangeOf string) error {
	raw, query, hasQuery := strings.Cut(target, "?")
	name := path.Base(raw)
	if digits, ok := strings.CutPrefix(name, "size-"); ok && (method == "GET" || method == "HEAD") {
		if size, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return respondWithObject(connection, method == "HEAD", size, rangeOf)
		}
	}
	if !hasQuery && method == "PUT" {
		_, err := connection.Write([]byte("HTTP/1.1 200 OK\r\n" + etag + "Content-Length: 0\r\n\r\n"))
		return err
	}
	status, body := respondWithOther(method, raw, query)
	text := fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Type: application/xml\r\nContent-Length: %d\r\n"+
		"x-amz-bucket-region: us-east-1\r\n\r\n", status, etag, len(body))
	if method != "HEAD" {
		text += body
	}
	_, err := connection.Write([]byte(text))
	return err
}

func respondWithObject(connection net.Conn, isHead bool, size int64, rangeOf string) error {
	status, more := "200 OK", ""
	first, last := int64(0), size-1
	if bounds, ok := strings.CutPrefix(rangeOf, "bytes="); ok {
		from, to, _ := strings.Cut(bounds, "-")
		first, _ = strconv.ParseInt(from, 10, 64)
		if to != "" {
			last, _ = strconv.ParseInt(to, 10, 64)
		}
		if last >= size {
			last = size - 1
		}
		status, more = "206 Partial Content", fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", first, last, size)
	}
	left := last - first + 1
	text := make([]byte, 0, 4096)
	text = append(text, "HTTP/1.1 "...)
	text = append(text, status...)
	text = append(text, "\r\n"+etag+modified+"Accept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n"...)
	text = append(text, more...)
	text = append(text, "Content-Length: "...)
	text = strconv.AppendInt(text, left, 10)
	text = append(text, "\r\n\r\n"...)
	if isHead {
		left = 0
	} else if left <= 4096-int64(len(text)) {
		text = append(text, block[:left]...)
		left = 0
	}
	if _, err := connection.Write(text); err != nil {
		return err
	}
	for left > 0 {
		piece := block
		if left < blockSize {
			piece = block[:left]
		}
		written, err := connection.Write(piece)
		if err != nil {
			return err
		}
		left -= int64(written)
	}
	return nil
}

// respondWithOther responds to the requests that proxies send besides those for an object.
func respondWithOther(method, raw, query string) (string, string) {
	names, _ := url.ParseQuery(query)
	switch {
	case method == "POST" && names.Has("uploads"):
		return "200 OK", document + "<InitiateMultipartUploadResult><Bucket>bench</Bucket><Key>key</Key>" +
			"<UploadId>upload</UploadId></InitiateMultipartUploadResult>"
	case method == "POST" && names.Has("uploadId"):
		return "200 OK", document + "<CompleteMultipartUploadResult><Bucket>bench</Bucket><Key>key</Key>" +
			"<ETag>&quot;5d41402abc4b2a76b9719d911017c592-1&quot;</ETag></CompleteMultipartUploadResult>"
	case method == "DELETE":
		return "204 No Content", ""
	case method == "GET" && raw == "/":
		return "200 OK", document + "<ListAllMyBucketsResult>" + owner + "<Buckets><Bucket><Name>bench</Name>" +
			"<CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>"
	case method != "GET":
		return "200 OK", ""
	case names.Has("location"):
		return "200 OK", document + "<LocationConstraint/>"
	case names.Has("acl"):
		return "200 OK", document + "<AccessControlPolicy>" + owner + "<AccessControlList/></AccessControlPolicy>"
	case names.Has("versioning"):
		return "200 OK", document + "<VersioningConfiguration/>"
	case names.Has("policy"):
		return "404 Not Found", document + "<Error><Code>NoSuchBucketPolicy</Code></Error>"
	case names.Has("tagging"):
		return "404 Not Found", document + "<Error><Code>NoSuchTagSet</Code></Error>"
	case names.Has("object-lock"):
		return "404 Not Found", document + "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"
	case strings.Count(strings.Trim(raw, "/"), "/") == 0:
		return "200 OK", listing(names)
	}
	return "404 Not Found", document + "<Error><Code>NoSuchKey</Code></Error>"
}

func listing(names url.Values) string {
	text := strings.Builder{}
	text.WriteString(document + "<ListBucketResult><Name>bench</Name><IsTruncated>false</IsTruncated>")
	text.WriteString("<MaxKeys>1000</MaxKeys><Prefix>" + names.Get("prefix") + "</Prefix>")
	count := 0
	for _, name := range listed {
		if strings.HasPrefix(name, names.Get("prefix")) {
			count++
			_, size, _ := strings.Cut(name, "-")
			text.WriteString("<Contents><Key>" + name + "</Key><LastModified>" +
				time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Format("2006-01-02T15:04:05.000Z") + "</LastModified><Size>" +
				size + "</Size><ETag>&quot;5d41402abc4b2a76b9719d911017c592-1&quot;</ETag>" +
				"<StorageClass>STANDARD</StorageClass></Contents>")
		}
	}
	fmt.Fprintf(&text, "<KeyCount>%d</KeyCount></ListBucketResult>", count)
	return text.String()
}
