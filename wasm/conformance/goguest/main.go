// Guest of the conformance kit in Go: see ../guest.md.
package main

import (
	"errors"
	"strconv"
	"strings"

	chappe "github.com/chappe-relay/chappe/wasm/go"
	_ "github.com/chappe-relay/chappe/wasm/go/batch"
	"github.com/chappe-relay/chappe/wasm/go/connect"
	"github.com/chappe-relay/chappe/wasm/go/disconnect"
	"github.com/chappe-relay/chappe/wasm/go/history"
	"github.com/chappe-relay/chappe/wasm/go/presence"
	"github.com/chappe-relay/chappe/wasm/go/publish"
	"github.com/chappe-relay/chappe/wasm/go/subscribe"
	"github.com/chappe-relay/chappe/wasm/go/timer"
)

var calls chappe.Counter

func init() {
	chappe.Configure(func(config []byte) error {
		if v, ok := chappe.Lookup(config, "refuse"); ok {
			reason, _ := v.Text()
			return errors.New(reason)
		}
		calls = chappe.NewCounter("calls")
		return nil
	})
	connect.Handle(func(e *chappe.Event) chappe.Verdict {
		switch {
		case e.User() == "mallory":
			return chappe.Deny(403, "not you")
		case e.Agent() == "bad/1":
			return chappe.Deny(401, e.Remote())
		}
		return chappe.Allow
	})
	subscribe.Handle(func(e *chappe.Event) chappe.Verdict {
		if e.Pattern() {
			return chappe.Deny(400, "no patterns")
		}
		level, _ := strconv.ParseUint(e.Claim("level"), 10, 32)
		return chappe.Allow.Tag(chappe.Tags{Bits: 5, Level: uint32(level), Group: 7, Ext: []byte(e.Channel())})
	})
	publish.Handle(answer)
	presence.Handle(func(e *chappe.Event) chappe.Verdict {
		if e.Joined() {
			chappe.Log(chappe.Info, "joined "+e.User())
		} else {
			chappe.Log(chappe.Info, "left "+e.User())
		}
		return chappe.Allow
	})
	history.Handle(func(e *chappe.Event) chappe.Verdict {
		if e.User() == "" {
			return chappe.Deny(403, "who?")
		}
		return chappe.Allow
	})
	disconnect.Handle(func(e *chappe.Event) chappe.Verdict {
		chappe.Log(chappe.Info, "closed "+strconv.Itoa(e.CloseCode()))
		return chappe.Allow
	})
	timer.Handle(func(*chappe.Event) chappe.Verdict {
		chappe.Log(chappe.Info, "timer")
		return chappe.Allow
	})
}

func answer(e *chappe.Event) chappe.Verdict {
	switch e.Name() {
	case "allow":
		return chappe.Allow
	case "drop":
		return chappe.Drop
	case "deny":
		return chappe.Deny(429, "slow down")
	case "deny-plain":
		return chappe.Deny(0, "")
	case "deny-long":
		return chappe.Deny(403, strings.Repeat("ä", 300))
	case "log":
		return chappe.Allow.Log()
	case "replace":
		return chappe.Replace(append(append([]byte(nil), e.Payload()...), '!'))
	case "empty":
		return chappe.Replace(nil)
	case "big":
		return chappe.Replace(make([]byte, 65536))
	case "huge":
		return chappe.Replace(make([]byte, 65537))
	case "match":
		return chappe.Allow.Match(chappe.Match{Any: 3, All: 4, None: 8, Level: 2})
	case "fanout":
		return chappe.Allow.FanOut("audit", e.Payload()).FanOut("copy", []byte("x"))
	case "many":
		v := chappe.Allow
		for range 17 {
			v = v.FanOut("c", nil)
		}
		return v
	case "reroute":
		return chappe.Drop.FanOut("elsewhere", e.Payload())
	case "together":
		return chappe.Replace([]byte("new")).Match(chappe.Match{Any: 1}).FanOut("audit", e.Payload())
	case "error":
		return chappe.Fail("broken")
	case "trap":
		panic("as asked")
	case "fields":
		return chappe.Replace(fields(e))
	case "claim":
		return chappe.Replace([]byte(e.Claim(e.Key())))
	case "timer":
		chappe.SetTimer(50)
		return chappe.Allow
	}
	return call(e)
}

// call answers those that call the host.
func call(e *chappe.Event) chappe.Verdict {
	switch e.Name() {
	case "config":
		return chappe.Replace([]byte(chappe.Config(e.Key())))
	case "set":
		if !chappe.Set(e.Key(), e.Payload(), 0) {
			return chappe.Drop
		}
	case "get":
		v, ok := chappe.Get(e.Key())
		if !ok {
			return chappe.Drop
		}
		return chappe.Replace(v)
	case "incr":
		n, ok := chappe.Incr(e.Key(), 1, 1000)
		if !ok {
			return chappe.Drop
		}
		return chappe.Replace(strconv.AppendInt(nil, n, 10))
	case "now":
		if chappe.Now() != e.Now() {
			return chappe.Deny(500, "two clocks")
		}
		return chappe.Replace(strconv.AppendInt(nil, chappe.Now(), 10))
	case "random":
		if first := chappe.Random(); first == chappe.Random() {
			return chappe.Drop
		}
	case "line":
		chappe.Log(chappe.Info, string(e.Payload()))
	case "count":
		calls.Add(1)
	default:
		return chappe.Deny(400, "unknown: "+e.Name())
	}
	return chappe.Allow
}

func fields(e *chappe.Event) []byte {
	s := strings.Join([]string{
		e.Channel(), e.Session(), e.User(), string(e.Claims()), e.Name(), e.Key(), e.ID(), string(e.Payload()), "",
	}, "|")
	if e.Binary() {
		s += "b"
	}
	if e.Mesh() {
		s += "m"
	}
	if e.Backend() {
		s += "k"
	}
	return []byte(s)
}

func main() {}
