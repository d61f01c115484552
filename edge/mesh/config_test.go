package mesh

import (
	"strings"
	"testing"
)

func TestConfigFaults(t *testing.T) {
	keys := regionKeys{}
	good := func() Config {
		return Config{Region: "eu", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, "eu"), Peers: []Peer{
			{Region: "ap", Key: keys.public(t, "ap"), URLs: []string{"127.0.0.1:1"}},
			{Region: "us", Key: keys.public(t, "us")},
		}}
	}
	c := good()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"region: \"EU\"":               func(c *Config) { c.Region = "EU" },
		"node: \"\"":                   func(c *Config) { c.Node = "" },
		"key: not an nkey seed":        func(c *Config) { c.Key = keys.public(t, "eu") },
		"peers.ap: key":                func(c *Config) { c.Peers[0].Key = "" }, // no allow-list
		"the same as that of eu":       func(c *Config) { c.Peers[0].Key = keys.public(t, "eu") },
		"the same as that of ap":       func(c *Config) { c.Peers[1].Key = c.Peers[0].Key },
		"region ap is named twice":     func(c *Config) { c.Peers[1].Region = "ap" },
		"region eu is named twice":     func(c *Config) { c.Peers[1].Region = "eu" },
		"peers.ap: urls: needed":       func(c *Config) { c.Peers[0].URLs = nil },
		"\"nowhere\" is not host:port": func(c *Config) { c.Peers[0].URLs = []string{"nowhere"} },
		"listen: needed":               func(c *Config) { c.Listen = "" },
		"routes: need":                 func(c *Config) { c.Routes = []string{"127.0.0.1:5"} },
		"tls: needed, 0.0.0.0:0":       func(c *Config) { c.Listen = "0.0.0.0:0" },
		"tls: needed, 10.0.0.1:7422":   func(c *Config) { c.Peers[0].URLs = []string{"10.0.0.1:7422"} },
		"tls: cert, key and ca":        func(c *Config) { c.TLS.Cert = "x" },
	} {
		c := good()
		spoil(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, have %v", want, err)
		}
		if err != nil && strings.Contains(err.Error(), c.Key) && strings.HasPrefix(c.Key, "SU") {
			t.Error("the error shows the key")
		}
		if m, err := New(c); err == nil {
			m.Close()
			t.Errorf("%q: the mesh starts", want)
		}
	}
}
