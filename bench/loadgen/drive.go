package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	batchSize   = 512 << 10 // maximum bytes of one write
	batchPieces = 256
	patience    = 60 * time.Second
	maxFailures = 20
)

// A job describes the requests to send. All bytes are in one file, the arena. A body is a list of pieces of the arena,
// so that every chunk of a large object uses the same block of data.
type job struct {
	Address     string  `json:"address"`
	TLS         bool    `json:"tls"`
	Connections int     `json:"connections"`
	Fresh       bool    `json:"fresh"`   // each request has a connection of its own
	Resumes     bool    `json:"resumes"` // a new connection resumes the TLS session of the last one
	Requests    int64   `json:"requests"`
	Seconds     float64 `json:"seconds"` // no request begins after this time; 0 for no limit
	Arena       string  `json:"arena"`
	Pieces      string  `json:"pieces"` // pairs of uint64, little endian: offset and size
	Items       []item  `json:"items"`  // sent in rotation, all clients together
	Warm        *item   `json:"warm"`   // sent once on each connection, before the clock starts
}

type item struct {
	Method   string `json:"method"`
	First    int    `json:"first"` // number of its first piece
	Count    int    `json:"count"`
	Response int64  `json:"response"` // bytes of the response's body
	Size     int64  `json:"size"`     // bytes of the object
}

type piece struct{ offset, size uint64 }

type result struct {
	Seconds       float64          `json:"seconds"`
	Requests      int64            `json:"requests"`
	Bytes         int64            `json:"bytes"`
	Middle        float64          `json:"p50"`
	High          float64          `json:"p99"`
	CPU           float64          `json:"cpu"`
	Failures      map[string]int64 `json:"failures"`
	FirstResponse string           `json:"first_response"`
}

type generator struct {
	job    job
	arena  []byte
	pieces []piece
	left   atomic.Int64
	turn   atomic.Int64
	ends   time.Time

	lock   sync.Mutex
	result result
	times  []time.Duration
}

func mapFile(name string) []byte {
	file, err := os.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		log.Fatal(err)
	}
	data, err := syscall.Mmap(int(file.Fd()), 0, int(about.Size()), syscall.PROT_READ, syscall.MAP_SHARED|syscall.MAP_POPULATE)
	if err != nil {
		log.Fatal(err)
	}
	return data
}

// drive runs one job. It prints "ready" when all connections are made and each had a first request. It starts at the
// first byte from standard input, and prints the result.
func drive(name string) {
	text, err := os.ReadFile(name)
	if err != nil {
		log.Fatal(err)
	}
	made := &generator{result: result{Failures: map[string]int64{}}}
	if err := json.Unmarshal(text, &made.job); err != nil {
		log.Fatal(err)
	}
	made.arena = mapFile(made.job.Arena)
	raw := mapFile(made.job.Pieces)
	made.pieces = make([]piece, len(raw)/16)
	for index := range made.pieces {
		made.pieces[index] = piece{binary.LittleEndian.Uint64(raw[index*16:]), binary.LittleEndian.Uint64(raw[index*16+8:])}
	}
	made.left.Store(made.job.Requests)

	clients := make([]*client, made.job.Connections)
	var group sync.WaitGroup
	for index := range clients {
		clients[index] = &client{generator: made}
		group.Add(1)
		go func(one *client) {
			defer group.Done()
			if one.connect() == nil && made.job.Warm != nil {
				if err := one.ask(*made.job.Warm); err != nil {
					one.lose()
				}
			}
		}(clients[index])
	}
	group.Wait()
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))

	before, start := cpuSeconds(), time.Now()
	made.ends = start.Add(time.Duration(made.job.Seconds * float64(time.Second)))
	for _, one := range clients {
		group.Add(1)
		go func(one *client) {
			defer group.Done()
			one.run()
		}(one)
	}
	group.Wait()
	made.result.Seconds = time.Since(start).Seconds()
	made.result.CPU = cpuSeconds() - before
	made.result.Middle, made.result.High = made.quantile(0.5), made.quantile(0.99)
	written, err := json.Marshal(made.result)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(written))
	// The connections stay open until standard input ends: the caller first measures the server.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	seconds := func(of syscall.Timeval) float64 { return float64(of.Sec) + float64(of.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func (g *generator) quantile(part float64) float64 {
	if len(g.times) == 0 {
		return 0
	}
	sort.Slice(g.times, func(a, b int) bool { return g.times[a] < g.times[b] })
	return g.times[int(part*float64(len(g.times)-1))].Seconds()
}

// A client is one connection, with one request at a time.
type client struct {
	generator  *generator
	connection net.Conn
	reader     *bufio.Reader
	discarder  *discarder
	vector     net.Buffers
	scratch    []byte
	times      []time.Duration
	sessions   tls.ClientSessionCache
}

// An errResponse is a response other than the expected one.
type errResponse struct{ key string }

func (e errResponse) Error() string { return e.key }

func (c *client) connect() error {
	connection, err := net.DialTimeout("tcp", c.generator.job.Address, patience)
	if err != nil {
		return err
	}
	c.connection = connection
	if c.generator.job.TLS {
		// The certificate was made for this run. Nothing depends on the identity of the server.
		if c.generator.job.Resumes && c.sessions == nil {
			c.sessions = tls.NewLRUClientSessionCache(1)
		}
		secured := tls.Client(connection, &tls.Config{InsecureSkipVerify: true, ClientSessionCache: c.sessions})
		if err := secured.Handshake(); err != nil {
			c.lose()
			return err
		}
		c.connection = secured
	}
	c.reader = bufio.NewReaderSize(c.connection, 64<<10)
	c.discarder = newDiscarder(c.connection, c.reader)
	return nil
}

func (c *client) lose() {
	if c.connection != nil {
		c.connection.Close()
		c.connection = nil
	}
}

func (c *client) run() {
	done, failed := int64(0), 0
	failures := map[string]int64{}
	// The first request always runs: a slow server must have one.
	for c.generator.left.Add(-1) >= 0 && (done == 0 || c.generator.job.Seconds == 0 || time.Now().Before(c.generator.ends)) {
		var err error
		start := time.Now()
		if c.generator.job.Fresh {
			c.lose()
		}
		if c.connection == nil {
			err = c.connect()
		}
		if !c.generator.job.Fresh {
			start = time.Now()
		}
		if err == nil {
			items := c.generator.job.Items
			err = c.ask(items[c.generator.turn.Add(1)%int64(len(items))])
		}
		if err == nil {
			c.times = append(c.times, time.Since(start))
			done++
			continue
		}
		c.lose()
		failures[reason(err)]++
		failed++
		if failed >= maxFailures {
			break
		}
	}
	c.generator.lock.Lock()
	defer c.generator.lock.Unlock()
	c.generator.times = append(c.generator.times, c.times...)
	c.generator.result.Requests += done
	c.generator.result.Bytes += done * c.generator.job.Items[0].Size
	for key, count := range failures {
		c.generator.result.Failures[key] += count
	}
}

func reason(err error) string {
	var answered errResponse
	switch {
	case errors.As(err, &answered):
		return answered.key
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "time out"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection lost"
	}
	return err.Error()
}

func (c *client) ask(what item) error {
	// The deadline allows for 10 MB per second.
	_ = c.connection.SetDeadline(time.Now().Add(patience + time.Duration(what.Response)*100))
	sent := c.send(c.generator.pieces[what.First : what.First+what.Count])
	// A server that refuses early stops reading, but has sent a response.
	response, err := readHead(c.reader)
	for err == nil && strings.HasPrefix(response.line[9:], "100") {
		response, err = readHead(c.reader)
	}
	if err != nil {
		if sent != nil {
			return sent
		}
		return err
	}
	status := response.line[9:12]
	if status[0] != '2' {
		return c.refused(status, response)
	}
	if sent != nil {
		return sent
	}
	if what.Method == "HEAD" {
		if response.closes {
			c.lose()
		}
		return nil
	}
	size, err := c.discarder.skipBody(response)
	if err != nil {
		return err
	}
	if size != what.Response {
		return errResponse{fmt.Sprintf("%d bytes", size)}
	}
	if response.closes {
		c.lose()
	}
	return nil
}

func (c *client) refused(status string, response head) error {
	size := response.length
	if response.chunked || size > 2048 || size < 0 {
		size = 2048
	}
	text := make([]byte, size)
	count, _ := c.reader.Read(text)
	c.generator.lock.Lock()
	if c.generator.result.FirstResponse == "" {
		c.generator.result.FirstResponse = response.line + "\n" + string(text[:count])
	}
	c.generator.lock.Unlock()
	return errResponse{status}
}

// send writes pieces in large blocks. Each block moves the deadline, because an object may have any size.
func (c *client) send(pieces []piece) error {
	for len(pieces) > 0 {
		size := uint64(0)
		count := 0
		for count < len(pieces) && count < batchPieces && (count == 0 || size+pieces[count].size <= batchSize) {
			size += pieces[count].size
			count++
		}
		if err := c.write(pieces[:count], size); err != nil {
			return err
		}
		pieces = pieces[count:]
		if len(pieces) > 0 {
			_ = c.connection.SetDeadline(time.Now().Add(patience))
		}
	}
	return nil
}

func (c *client) write(pieces []piece, size uint64) error {
	if len(pieces) == 1 {
		_, err := c.connection.Write(c.generator.arena[pieces[0].offset : pieces[0].offset+pieces[0].size])
		return err
	}
	if c.generator.job.TLS || size <= 16<<10 {
		c.scratch = c.scratch[:0]
		for _, one := range pieces {
			c.scratch = append(c.scratch, c.generator.arena[one.offset:one.offset+one.size]...)
		}
		_, err := c.connection.Write(c.scratch)
		return err
	}
	vector := c.vector[:0]
	for _, one := range pieces {
		vector = append(vector, c.generator.arena[one.offset:one.offset+one.size])
	}
	c.vector = vector
	_, err := vector.WriteTo(c.connection)
	return err
}
