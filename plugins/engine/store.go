package engine

import (
	"math"
	"sync"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Bounds of a version's store (ABI §8).
const (
	storeKeys  = 10_000
	storeBytes = 1 << 20
	maxValue   = 64 << 10
)

// store is the key-value memory of a version on this node, shared by its
// instances. It never waits for anything but its lock.
type store struct {
	mu    sync.Mutex
	keys  map[string]entry
	bytes int
	swept uint64 // milliseconds: when keys past their end were last looked for
}

type entry struct {
	value []byte
	end   uint64 // milliseconds; 0: none
}

func (e *entry) over(now uint64) bool { return e.end != 0 && now >= e.end }

func (s *store) get(key string, now uint64) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.keys[key]
	if !ok || e.over(now) {
		return nil, false
	}
	return e.value, true // values are replaced, never changed
}

func (s *store) set(key string, value []byte, ttl uint32, now uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(value) == 0 {
		s.dropLocked(key)
		return true
	}
	return s.putLocked(key, append([]byte(nil), value...), ttl, now)
}

func (s *store) putLocked(key string, value []byte, ttl uint32, now uint64) bool {
	if len(key) == 0 || len(key) > abi.MaxKey || len(value) > maxValue {
		return false
	}
	old, had := s.keys[key]
	grown := len(value) - len(old.value)
	if !had {
		grown += len(key)
	}
	if s.bytes+grown > storeBytes || !had && len(s.keys) >= storeKeys {
		s.sweepLocked(now)
		if _, still := s.keys[key]; had && !still {
			had, grown = false, len(key)+len(value)
		}
		if s.bytes+grown > storeBytes || !had && len(s.keys) >= storeKeys {
			return false
		}
	}
	if s.keys == nil {
		s.keys = make(map[string]entry)
	}
	e := entry{value: value}
	if ttl > 0 {
		e.end = now + uint64(ttl)
	}
	s.keys[key] = e
	s.bytes += grown
	return true
}

// incr adds to a counter and returns the sum; the least number there is when the
// store is full.
func (s *store) incr(key string, delta int64, ttl uint32, now uint64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.keys[key]
	fresh := !ok || e.over(now)
	var sum int64
	if !fresh && len(e.value) == 8 {
		sum = int64(le.Uint64(e.value))
	}
	sum += delta
	value := le.AppendUint64(nil, uint64(sum))
	if fresh {
		if !s.putLocked(key, value, ttl, now) {
			return math.MinInt64
		}
		return sum
	}
	end := e.end
	if !s.putLocked(key, value, 0, now) {
		return math.MinInt64
	}
	e = s.keys[key]
	e.end = end
	s.keys[key] = e
	return sum
}

func (s *store) dropLocked(key string) {
	if e, ok := s.keys[key]; ok {
		s.bytes -= len(key) + len(e.value)
		delete(s.keys, key)
	}
}

// sweepLocked drops the keys past their end, at most ten times a second: a guest
// that fills the store would have it done for every key.
func (s *store) sweepLocked(now uint64) {
	if now < s.swept+100 {
		return
	}
	s.swept = now
	for key, e := range s.keys {
		if e.over(now) {
			s.dropLocked(key)
		}
	}
}
