package driver_test

import (
	"testing"

	"github.com/chappe-relay/chappe/sdk/conformance"
	"github.com/chappe-relay/chappe/sdk/conformance/driver"
)

// The Go client behaves as docs/clients.md says.
func TestConformance(t *testing.T) {
	results, err := conformance.Run(conformance.InProcess(driver.Main), conformance.Options{Parallel: 16})
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, r := range results {
		t.Run(r.Case+"/"+r.Transport, func(t *testing.T) {
			switch r.Verdict {
			case "fail":
				t.Error(r.Why)
			case "not run":
				t.Skip(r.Why)
			default:
				passed++
			}
		})
	}
	if passed < 140 {
		t.Errorf("only %d cases were played", passed)
	}
}
