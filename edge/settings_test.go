package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/edge/config"
	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// plainSpace is a namespace with the defaults.
func plainSpace() *config.Namespace {
	n := *config.Dev().Namespaces["*"]
	n.History, n.Presence, n.Wide = false, false, false
	return &n
}

// set asks a node to set a key; the code is "" for success.
func (r *region) set(key, value string) (code string) {
	r.t.Helper()
	return r.setting(http.MethodPut, key, value)
}

func (r *region) unset(key string) (code string) {
	r.t.Helper()
	return r.setting(http.MethodDelete, key, "")
}

func (r *region) setting(method, key, value string) string {
	r.t.Helper()
	status, body := r.send(method, "/v1/settings/"+key, value)
	var out struct{ Error struct{ Code string } }
	if err := json.Unmarshal([]byte(body), &out); err != nil || (status == 200) != (out.Error.Code == "") {
		r.t.Errorf("%s %s: %d %s", method, key, status, body)
	}
	return out.Error.Code
}

// shows is what a node says of a key: "value from", and " idle" where it has no effect.
func (r *region) shows(key string) string {
	r.t.Helper()
	var all struct {
		Settings []struct {
			Key, Value, From, Idle string
			Own                    *string
		}
	}
	_, body := r.ask("GET", "/v1/settings?limit=1000")
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		r.t.Fatalf("%s: %v", body, err)
	}
	for _, s := range all.Settings {
		if s.Key == key {
			from, _, _ := strings.Cut(s.From, ",")
			out := s.Value + " " + from
			if s.Own != nil {
				out += " over " + *s.Own
			}
			if s.Idle != "" {
				out += " idle"
			}
			return out
		}
	}
	return ""
}

// takes reports whether a node takes a payload of n bytes in a channel.
func (r *region) takes(channel string, n int) bool {
	r.t.Helper()
	c := r.client("ann", "")
	defer c.Close(r.t.Context())
	_, err := c.Publish(r.t.Context(), channel, chappe.Message{Data: make([]byte, n)})
	if err != nil && !strings.Contains(err.Error(), "too_big") {
		r.t.Error(err)
	}
	return err == nil
}

// What is set at one node is in force on all, also on those that were cut off, or
// down, when it was; and it stays until it is unset.
func TestSettings(t *testing.T) {
	t.Parallel()
	ap, eu, eu2, between := twoRegions(t, func(r *region) {
		r.o.Config.Namespaces["rides"] = plainSpace()
	})
	all := []*region{ap, eu, eu2}
	const message, rate = "namespaces.rides.message", "limits.rate"
	if got := ap.shows(message); got != "64KiB default" {
		t.Errorf("%q", got)
	}
	if code := eu.set(message, "8"); code != "" || eu.takes("rides.1", 9) {
		t.Fatalf("it is not in force where it was set: %s", code)
	}
	for _, r := range all {
		r.eventually("it is in force", func() bool { return !r.takes("rides.1", 9) && r.takes("rides.1", 8) && r.takes("other.1", 9) })
		if got := r.shows(message); got != "8 set at eu.n1 over 64KiB" {
			t.Errorf("%s: %q", r.name(), got)
		}
	}

	between.cut(true) // both sides go on, and differ
	if ap.set(message, "16") != "" || ap.set(rate, "111") != "" || eu2.set(message, "24") != "" || eu2.set(message, "32") != "" || eu2.set("limits.burst", "333") != "" {
		t.Fatal("a region that is cut off cannot set anything")
	}
	eu.eventually("it is in force in the region", func() bool { return eu.shows(message) == "32 set at eu.n2 over 64KiB" })
	if got := ap.shows(message); got != "16 set at ap.n1 over 64KiB" || ap.shows("limits.burst") != "200 default" || eu.shows(rate) != "100 default" {
		t.Errorf("the regions are not apart: %s", got)
	}
	between.cut(false)
	for _, r := range all {
		r.eventually("all regions agree on the newer one, and have both others", func() bool {
			return r.shows(message) == "32 set at eu.n2 over 64KiB" && r.shows(rate) == "111 set at ap.n1 over 100" && r.shows("limits.burst") == "333 set at eu.n2 over 200"
		})
		if r.takes("rides.1", 33) || !r.takes("rides.1", 32) {
			t.Errorf("%s shows it, and does otherwise", r.name())
		}
	}

	// A node that was down finds what was unset meanwhile, and has the rest still.
	listen := ap.node.join.Addr()
	ap.stop()
	if code := eu.unset(message); code != "" {
		t.Fatal(code)
	}
	if code := eu.unset(message); code != "not_found" {
		t.Errorf("unset twice: %q", code)
	}
	eu.stop()
	eu2.stop()
	ap.o.Config.Mesh.Listen = listen
	ap.start()
	if got := ap.shows(message); got != "32 set at eu.n2 over 64KiB" || ap.takes("rides.1", 33) || ap.shows(rate) != "111 set at ap.n1 over 100" {
		t.Errorf("after a restart: %s", got)
	}
	eu.o.Config.Mesh.Routes = nil
	eu.start()
	ap.eventually("it is unset here", func() bool { return ap.shows(message) == "64KiB default" && ap.takes("rides.1", 33) })
}

// What a running node cannot change, or does not know, is refused with a code, and
// changes nothing anywhere.
func TestSettingsAreRefused(t *testing.T) {
	t.Parallel()
	key, _ := seed(t)
	r := newRegion(t, "ap", "n1", key, nil)
	r.start()
	for set, want := range map[string]string{
		"namespaces.*.history=false": "restart", "client.listen=:1": "restart", "region=x": "restart",
		"namespaces.*.age=2m": "restart", // it keeps a minute
		"limits.rte=5":        "not_found", "namespaces.cars.age=1m": "not_found",
		"limits.rate=fast": "bad_request", "namespaces.*.policy=lates": "bad_request", "namespaces.*.message=1MiB": "bad_request",
		"limits.rate=" + strings.Repeat("1", 5000): "bad_request",
	} {
		key, value, _ := strings.Cut(set, "=")
		if code := r.set(key, value); code != want {
			t.Errorf("%.60s: %q, want %q", set, code, want)
		}
	}
	if n := len(r.node.replica.store.All(kindSetting)); n != 0 {
		t.Errorf("%d are kept", n)
	}
	if code := r.set("namespaces.*.age", "30s"); code != "" || r.shows("namespaces.*.age") != "30s set at ap.n1 over 1m" {
		t.Errorf("%s %s", code, r.shows("namespaces.*.age"))
	}
	// What is kept and cannot be put in force is not called done.
	s, apply := r.node.settings, r.node.settings.apply
	s.mu.Lock()
	s.apply = func(*config.Config) error { return errors.New("not today") }
	s.mu.Unlock()
	if status, body := r.send(http.MethodPut, "/v1/settings/limits.burst", "300"); status != 503 || !strings.Contains(body, CodeIdle) || !strings.Contains(body, "not today") {
		t.Errorf("%d %s", status, body)
	}
	s.mu.Lock()
	s.apply = apply
	s.mu.Unlock()
	if code := r.set("limits.burst", "301"); code != "" {
		t.Error(code)
	}
	if _, body := r.ask("GET", "/v1/settings?limit=2"); !strings.Contains(body, `"next":`) || !strings.Contains(body, `"total":15`) {
		t.Errorf("%s", body)
	}
}

// A setting that does not go with a node's own configuration has no effect there,
// and that is said; the others have.
func TestSettingsThatDoNotFit(t *testing.T) {
	t.Parallel()
	var said logLines
	ap, eu, _, _ := twoRegions(t, func(r *region) {
		if r.o.Config.Region == "eu" {
			r.o.Config.Namespaces["cars"] = plainSpace()
			return
		}
		r.o.Logger = said.logger()
		r.o.Config.Limits.Burst = 20 // too few for a rate of more than 200
	})
	for key, value := range map[string]string{"namespaces.cars.message": "8", "limits.burst": "250", "limits.admission": "77"} {
		if code := eu.set(key, value); code != "" {
			t.Fatal(key, code)
		}
	}
	if code := eu.set("limits.rate", "2500"); code != "" {
		t.Fatal(code)
	}
	ap.eventually("what fits is in force", func() bool {
		return ap.shows("limits.burst") == "250 set at eu.n1 over 20" && ap.shows("limits.rate") == "2500 set at eu.n1 over 100" && ap.shows("limits.admission") == "77 set at eu.n1 over 0"
	})
	ap.eventually("what does not is shown", func() bool { return ap.shows("namespaces.cars.message") == "8 set at eu.n1 idle" })
	if !strings.Contains(said.String(), "code="+CodeIdle+" key=namespaces.cars.message") {
		t.Error("the log does not say so")
	}
	if _, body := ap.ask("GET", "/readyz"); !strings.Contains(body, "1 settings have no effect") {
		t.Errorf("%s", body)
	}
	if _, body := ap.ask("GET", "/metrics"); !strings.Contains(body, "\nchappe_control_idle_settings 1\n") {
		t.Error("the metric does not say so")
	}
	if eu.unset("limits.burst") != "bad_request" { // with the rate that is set the file's is too little
		t.Error("what does not go together is unset")
	}
	if eu.unset("namespaces.cars.message") != "" {
		t.Error("it cannot be unset")
	}
	ap.eventually("all is well", func() bool { return ap.shows("namespaces.cars.message") == "" && ap.node.settings.idleCount() == 0 })
}

// A reload takes in the live keys of the file, and what is set stands over them.
func TestReloadTakesLiveKeys(t *testing.T) {
	t.Parallel()
	key, _ := seed(t)
	r := newRegion(t, "ap", "n1", key, nil)
	r.start()
	if code := r.set("limits.burst", "40"); code != "" {
		t.Fatal(code)
	}
	next := newRegion(t, "ap", "n1", key, nil).o.Config
	next.Data = r.o.Config.Data
	next.Limits.Rate, next.Limits.Burst, next.Limits.Hello = 77, 88, 1e9
	next.Namespaces["*"].Message = 8
	next.Namespaces["cars"] = plainSpace()
	restart, err := r.node.Reload(next)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(restart); got != "[namespaces namespaces.cars.history namespaces.cars.presence namespaces.cars.wide limits.hello]" {
		t.Errorf("need a restart: %s", got)
	}
	if r.takes("rides.1", 9) || r.shows("limits.rate") != "77 default" || r.shows("limits.burst") != "40 set at ap.n1 over 88" {
		t.Errorf("%s, %s", r.shows("limits.rate"), r.shows("limits.burst"))
	}
	if r.unset("limits.burst") != "" || r.shows("limits.burst") != "88 default" {
		t.Errorf("then %s", r.shows("limits.burst"))
	}
	next.Namespaces["*"].Age = 1e15
	if _, err := r.node.Reload(next); err == nil || !strings.Contains(err.Error(), "the longest that this node kept") {
		t.Errorf("a longer age: %v", err)
	}
}
