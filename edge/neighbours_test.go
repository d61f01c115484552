package edge

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/edge/config"
	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// entrances are the URLs that a node offers to clients, in order.
func (r *region) entrances() (out []string) {
	res, err := http.Get(r.url() + "/.well-known/chappe")
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil
	}
	var all struct {
		Regions []struct {
			Region, URL string
			Load        *float64
		}
	}
	if err := json.Unmarshal(b, &all); err != nil {
		r.t.Errorf("%s: %v", b, err)
	}
	for _, e := range all.Regions {
		if e.Region == "" || e.Load == nil {
			r.t.Errorf("not all is told: %s", b)
		}
		out = append(out, e.URL)
	}
	return out
}

// Clients learn of the nodes that are heard, and go to one of them, with nothing
// configured but what each node's own URL is.
func TestClientsAreToldOfOtherNodes(t *testing.T) {
	t.Parallel()
	ap, eu, eu2, between := twoRegions(t, func(r *region) {
		at := freePort(r.t)
		r.o.Config.Client.Listen, r.o.Config.Client.PublicURL = at, "http://"+at
		r.o.Version = "v7." + r.o.Config.Mesh.Node
		r.o.Config.Drain.Deadline = config.Duration(2 * time.Second)
	})
	ap.eventually("all are offered", func() bool {
		got := ap.entrances()
		return len(got) == 3 && got[0] == ap.url() && slices.Contains(got, eu.url()) && slices.Contains(got, eu2.url())
	})
	eu.eventually("the own region's come first", func() bool { return slices.Equal(eu.entrances(), []string{eu.url(), eu2.url(), ap.url()}) })
	c := eu2.client("ann", "")
	sub := eu2.subscribe(c, "rides.1", chappe.SubOptions{})
	eu2.stop()
	eu.eventually("the client has gone to the node of its region", func() bool { return c.State().Phase == chappe.Live && c.State().URL == eu.url() })
	ap.eventually("who has left is not offered", func() bool { return slices.Equal(ap.entrances(), []string{ap.url(), eu.url()}) })
	eu.stop()
	ap.eventually("the client is in the other region", func() bool { return c.State().Phase == chappe.Live && c.State().URL == ap.url() })
	if _, err := ap.client("bob", "").Publish(t.Context(), "rides.1", chappe.Message{Data: []byte(`1`)}); err != nil {
		t.Fatal(err)
	}
	for e := range sub.Events() {
		if m, ok := e.(*chappe.Message); ok {
			if string(m.Data) != "1" {
				t.Errorf("%s", m.Data)
			}
			break
		}
	}
	eu.o.Config.Mesh.Listen = ""
	eu.start()
	ap.eventually("who has come back is offered", func() bool { return slices.Contains(ap.entrances(), eu.url()) })
	_, body := ap.ask("GET", "/v1/regions")
	if !strings.Contains(body, `"version":"v7.n1"`) || !strings.Contains(body, `"admission":`) {
		t.Errorf("%s", body)
	}
	between.cut(true)
	ap.eventually("who is not heard is not offered", func() bool { return slices.Equal(ap.entrances(), []string{ap.url()}) })
}
