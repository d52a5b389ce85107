package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
)

const readSize = 1 << 20

// errHead is the error of a head that is not HTTP/1.1, or is too long.
var errHead = errors.New("not a head of HTTP/1.1")

// A head has the first line of a message, and the headers for its framing.
type head struct {
	line     string
	length   int64 // -1 if none is declared
	chunked  bool
	closes   bool
	expects  bool
	rangeOf  string
	received int
}

// readHead reads a head line by line.
func readHead(reader *bufio.Reader) (head, error) {
	found := head{length: -1}
	for number := 0; ; number++ {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return found, err
		}
		found.received += len(line)
		line = bytes.TrimRight(line, "\r\n")
		if number == 0 {
			if len(line) < 12 {
				return found, errHead
			}
			found.line = string(line)
			continue
		}
		if len(line) == 0 {
			return found, nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return found, errHead
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			found.length, err = strconv.ParseInt(string(value), 10, 64)
			if err != nil {
				return found, errHead
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			found.chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("connection")):
			found.closes = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("expect")):
			found.expects = true
		case bytes.EqualFold(name, []byte("range")):
			found.rangeOf = string(value)
		}
	}
}

// A discarder discards bytes from a connection.
type discarder struct {
	connection net.Conn
	reader     *bufio.Reader
	raw        syscall.RawConn // nil if bytes must be read, as with TLS
	buffer     []byte
}

func newDiscarder(connection net.Conn, reader *bufio.Reader) *discarder {
	made := &discarder{connection: connection, reader: reader}
	if tcp, ok := connection.(*net.TCPConn); ok {
		made.raw, _ = tcp.SyscallConn()
	}
	return made
}

// skip discards a number of bytes.
func (d *discarder) skip(count int64) error {
	if buffered := int64(d.reader.Buffered()); buffered > 0 {
		if buffered > count {
			buffered = count
		}
		skipped, err := d.reader.Discard(int(buffered))
		count -= int64(skipped)
		if err != nil {
			return err
		}
	}
	if count > 0 && d.buffer == nil {
		d.buffer = make([]byte, readSize)
	}
	for count > 0 {
		wanted := d.buffer
		if int64(len(wanted)) > count {
			wanted = wanted[:count]
		}
		received, err := d.receive(wanted)
		count -= int64(received)
		if err != nil {
			return err
		}
	}
	return nil
}

// receive receives bytes from the kernel. Bytes of TCP are not copied to user space (MSG_TRUNC, tcp(7)).
func (d *discarder) receive(buffer []byte) (int, error) {
	if d.raw == nil {
		return d.connection.Read(buffer)
	}
	received, err := 0, error(nil)
	failed := d.raw.Read(func(descriptor uintptr) bool {
		for {
			received, _, err = syscall.Recvfrom(int(descriptor), buffer, syscall.MSG_TRUNC)
			if err != syscall.EINTR {
				return err != syscall.EAGAIN
			}
		}
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, err
	case received == 0:
		return 0, io.ErrUnexpectedEOF
	}
	return received, nil
}

// skipChunks discards a body in chunked transfer coding, and returns its size.
func (d *discarder) skipChunks() (int64, error) {
	total := int64(0)
	for {
		line, err := d.reader.ReadSlice('\n')
		if err != nil {
			return total, err
		}
		digits, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(";"))
		size, err := strconv.ParseInt(string(digits), 16, 64)
		if err != nil {
			return total, err
		}
		if size == 0 {
			break
		}
		if err := d.skip(size + 2); err != nil {
			return total, err
		}
		total += size
	}
	for {
		line, err := d.reader.ReadSlice('\n')
		if err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			return total, err
		}
	}
}

// skipBody discards the body of a message, and returns its size.
func (d *discarder) skipBody(of head) (int64, error) {
	if of.chunked {
		return d.skipChunks()
	}
	if of.length <= 0 {
		return 0, nil
	}
	return of.length, d.skip(of.length)
}
