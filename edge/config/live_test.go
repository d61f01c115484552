package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Load(Source{Path: "c.yaml", ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Config) live(key string) (v Value) {
	for _, one := range c.Live() {
		if one.Key == key {
			v = one
		}
	}
	return v
}

const liveFile = `
limits: {rate: 50}
namespaces:
  rides: {history: true, age: 10m}
  "*": {anonymous: [subscribe, history]}
`

func TestSettingsStandOverTheFile(t *testing.T) {
	c := parsed(t, liveFile)
	got, err := c.With([]Value{{"namespaces.rides.age", "5m", "set"}, {"namespaces.*.anonymous", " publish, ", "set"}, {"limits.burst", "7", "set"}})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]Value{
		"namespaces.rides.age":   {"namespaces.rides.age", "5m", "set"},
		"namespaces.*.anonymous": {"namespaces.*.anonymous", "publish", "set"},
		"limits.burst":           {"limits.burst", "7", "set"},
		"limits.rate":            {"limits.rate", "50", "c.yaml:2"},
		"limits.reconnect":       {"limits.reconnect", "2s", "default"},
	} {
		if v := got.live(key); v != want {
			t.Errorf("%+v, want %+v", v, want)
		}
	}
	// The configuration itself is as it was.
	if c.Namespaces["rides"].Age != Duration(10*time.Minute) || c.live("namespaces.*.anonymous").Text != "subscribe,history" || c.live("limits.burst").From != "default" {
		t.Error("the file's configuration has changed")
	}
	if v := c.live("namespaces.rides.history"); v.Key != "" {
		t.Errorf("%+v is taken in by a running node", v)
	}
}

func TestSettingsAreRefused(t *testing.T) {
	c := parsed(t, liveFile)
	for key, want := range map[string]error{
		"namespaces.rides.history": ErrRestart, "client.listen": ErrRestart, "namespaces": ErrRestart, "admin.token": ErrRestart, "region": ErrRestart,
		"limits.rte": ErrUnknown, "namespaces.cars.age": ErrUnknown, "": ErrUnknown, "namespaces.": ErrUnknown,
	} {
		if _, err := c.With([]Value{{Key: key, Text: "1"}}); !errors.Is(err, want) {
			t.Errorf("%s: %v", key, err)
		}
		if c.IsLive(key) {
			t.Errorf("%s is live", key)
		}
	}
	if _, err := c.With([]Value{{Key: "limits.rte", Text: "1"}}); !strings.Contains(err.Error(), "did you mean limits.rate?") {
		t.Error(err)
	}
	if _, err := c.With([]Value{{Key: "namespaces.cars.age", Text: "1m"}}); !strings.Contains(err.Error(), "names no namespace cars") {
		t.Error(err)
	}
	for key, text := range map[string]string{
		"limits.rate": "fast", "limits.subscriptions": "0", "namespaces.rides.policy": "lates", "namespaces.rides.message": "1MiB",
		"namespaces.*.age": "1m", "namespaces.*.anonymous": "sing", "namespaces.rides.age": "", "limits.burst": "2",
	} {
		_, err := c.With([]Value{{key, text, "set"}})
		faults := Faults(err)
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), key) {
			t.Errorf("%s = %q: %v", key, text, err)
		}
	}
}

// What one node may not say in its file, no setting allows either.
func TestSettingsStayWithinAPacket(t *testing.T) {
	c := parsed(t, "limits: {message: 4032KiB, frame: 16MiB}\nmesh: {key: SU}\nnamespaces: {rides: {}}\n")
	if _, err := c.With([]Value{{"namespaces.rides.message", "4032KiB", "set"}}); err != nil {
		t.Error(err)
	}
	if _, err := c.With([]Value{{"namespaces.rides.message", "4033KiB", "set"}}); err == nil || !strings.Contains(err.Error(), "is more than limits.message, 4032KiB") {
		t.Error(err)
	}
}

func TestRenewedTakesWhatIsLive(t *testing.T) {
	c := parsed(t, liveFile)
	by := parsed(t, `
region: us
limits: {burst: 99}
namespaces:
  rides: {history: false}
  cars: {cache: true}
`)
	got, err := c.Renewed(by)
	if err != nil {
		t.Fatal(err)
	}
	if v := got.live("limits.burst"); v.Text != "99" || v.From != "c.yaml:3" {
		t.Errorf("%+v", v)
	}
	if v := got.live("limits.rate"); v.Text != "100" || v.From != "default" {
		t.Errorf("%+v", v)
	}
	if v := got.live("namespaces.rides.age"); v.Text != "2m" {
		t.Errorf("%+v", v)
	}
	if got.Region != "local" || !got.Namespaces["rides"].History || got.Namespaces["cars"] != nil || got.live("namespaces.*.anonymous").Text != "subscribe,history" {
		t.Error("what needs a restart has changed")
	}
	// What goes with the new file and not with what still runs is refused.
	if _, err := c.Renewed(parsed(t, "limits: {message: 128KiB}\nnamespaces: {rides: {history: true, message: 100KiB}}\n")); err == nil {
		t.Error("no fault")
	}
}
