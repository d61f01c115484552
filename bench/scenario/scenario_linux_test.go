package scenario

import (
	"strings"
	"testing"
)

// Every scenario runs against a server that is right, and finds no fault.
func TestSmall(t *testing.T) {
	for _, s := range All {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			if s.Group == "idle-tls" || s.Group == "handshake" {
				t.Skip("the fake relay has no TLS; chappe-bench -small runs it with a real one")
			}
			r, err := s.Run(t.Context(), environment(newFake(t), t))
			if err != nil {
				t.Fatal(err)
			}
			for _, fault := range r.Faults {
				t.Error(fault)
			}
			if len(r.Values) == 0 {
				t.Error("no figures")
			}
		})
	}
}

// A server that loses or repeats one message is found out.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, want string
		break_     func(*fake)
	}{
		{"lost", "lost", func(f *fake) { f.drop = 10 }},
		{"repeated", "repeated", func(f *fake) { f.repeat = 10 }},
	} {
		for _, scenario := range []string{"fanout", "fanout-json", "fanout-sse", "resume"} {
			t.Run(c.name+"/"+scenario, func(t *testing.T) {
				t.Parallel()
				f := newFake(t)
				c.break_(f)
				for _, s := range All {
					if s.Name != scenario {
						continue
					}
					r, err := s.Run(t.Context(), environment(f, t))
					if err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(strings.Join(r.Faults, "\n"), c.want) {
						t.Errorf("faults %q, want one that says %q", r.Faults, c.want)
					}
				}
			})
		}
	}
}

// An address that is not loopback is refused before a packet is sent.
func TestLoopbackOnly(t *testing.T) {
	f := newFake(t)
	for _, s := range All {
		if s.Name != "fanout" {
			continue
		}
		_, err := s.Run(t.Context(), environment(f, t).elsewhere())
		if err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("error %v, want one that names loopback", err)
		}
	}
}
