package chappe

import (
	"sync"
	"time"
)

// Memory is what clients remember of relays, only for speed: which transport did,
// whether UDP comes through, and which region was the nearest. Clients that share
// one begin where others have been. The zero value remembers nothing yet.
type Memory struct {
	mu     sync.Mutex
	relays map[string]*remembered // by base URL
}

type remembered struct {
	kind    string    // transport that did last time
	udp     time.Time // until when UDP is thought to work
	home    string    // the nearest of this URL's regions
	settled time.Time // until when that is believed
}

const (
	udpBelieved  = 7 * 24 * time.Hour
	homeBelieved = 6 * time.Hour
)

func (m *Memory) of(base string) *remembered {
	if m.relays == nil {
		m.relays = make(map[string]*remembered)
	}
	if m.relays[base] == nil {
		m.relays[base] = new(remembered)
	}
	return m.relays[base]
}

func (m *Memory) transport(base string) (kind string, udp bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(base)
	return r.kind, time.Now().Before(r.udp)
}

// did records that a transport came through.
func (m *Memory) did(base, kind string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(base)
	if r.kind = kind; kind == "wt" {
		r.udp = time.Now().Add(udpBelieved)
	}
}

// settle records the nearest region of who is configured with base first.
func (m *Memory) settle(base, home string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(base)
	r.home, r.settled = home, time.Now().Add(homeBelieved)
}

func (m *Memory) home(base string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.of(base); time.Now().Before(r.settled) {
		return r.home
	}
	return ""
}
