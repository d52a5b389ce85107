// Loadgen is both ends of a measurement: a backend that discards bodies and generates objects, and clients that send
// requests signed in advance. Neither is measured, so both do as little as possible.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "sink":
			serve(os.Args[2])
			return
		case "drive":
			drive(os.Args[2])
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: loadgen sink ADDRESS | loadgen drive JOB.json")
	os.Exit(2)
}
