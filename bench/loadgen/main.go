// Loadgen is both ends of a measurement: a backend which swallows and gives bytes, and clients which send requests
// that were signed before. Neither is measured, so both do as little as they can.
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
