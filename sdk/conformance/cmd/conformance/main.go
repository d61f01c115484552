// Command conformance plays the cases of sdk/conformance on a client library.
//
//	go run ./sdk/conformance/cmd/conformance [flags] -- driver [arguments]
//
// Without a driver it plays them on the Go client.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/chappe-relay/chappe/sdk/conformance"
	"github.com/chappe-relay/chappe/sdk/conformance/driver"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit status: 0 if nothing failed, 1 if something did, 2 if it
// could not be run.
func run(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("conformance", flag.ContinueOnError)
	f.SetOutput(stderr)
	cases := f.String("case", "", "names of cases, separated by commas; empty: all")
	transports := f.String("transport", "", "ws, wt, sse, poll, separated by commas; empty: all")
	parallel := f.Int("parallel", 0, "drivers at once; 0: twice the processors")
	list := f.Bool("list", false, "list the cases and end")
	asJSON := f.Bool("json", false, "verdicts as JSON lines")
	brief := f.Bool("brief", false, "only what did not pass, or was not run, and the count")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if *list {
		for _, c := range conformance.Cases() {
			fmt.Fprintf(stdout, "%-22s %-15s %s\n", c.Name, strings.Join(c.Transports, ","), c.About)
		}
		return 0
	}
	start := conformance.InProcess(driver.Main)
	if f.NArg() > 0 {
		start = conformance.Program(f.Arg(0), f.Args()[1:]...)
	}
	count := map[string]int{}
	_, err := conformance.Run(start, conformance.Options{
		Cases: words(*cases), Transports: words(*transports), Parallel: *parallel,
		Each: func(r conformance.Result) {
			count[r.Verdict]++
			if *asJSON {
				json.NewEncoder(stdout).Encode(r)
				return
			}
			if *brief && r.Verdict == "pass" {
				return
			}
			fmt.Fprintf(stdout, "%-8s %-22s %-5s %5.1f s  %s\n", r.Verdict, r.Case, r.Transport, r.Seconds, r.Why)
		},
	})
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	if !*asJSON {
		fmt.Fprintf(stdout, "%d passed, %d failed, %d not run\n", count["pass"], count["fail"], count["not run"])
	}
	if count["fail"] > 0 || count["pass"] == 0 {
		return 1
	}
	return 0
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
