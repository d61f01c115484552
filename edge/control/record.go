package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"hash/fnv"
	"strconv"
	"time"
)

// Record is one decision. It is a value: a change makes another one.
type Record struct {
	Kind    string          `json:"kind"`
	Key     string          `json:"key"`
	Version uint64          `json:"version"`
	Writer  string          `json:"writer"`            // the node: breaks ties
	Stamp   int64           `json:"stamp"`             // the writer's clock, Unix milliseconds
	Expires int64           `json:"expires,omitempty"` // Unix milliseconds; 0: never
	Value   json.RawMessage `json:"value,omitempty"`
}

// Newer reports whether r takes the place of old.
func (r *Record) Newer(old *Record) bool {
	return cmp.Or(cmp.Compare(r.Version, old.Version), cmp.Compare(r.Writer, old.Writer), bytes.Compare(r.Value, old.Value),
		cmp.Compare(r.Expires, old.Expires), cmp.Compare(r.Stamp, old.Stamp)) > 0
}

func (r *Record) lapsed(now time.Time) bool { return r.Expires != 0 && r.Expires <= now.UnixMilli() }

// valid reports whether a record of another node, or of a file, can be kept. It
// gives the value its one spelling.
func (r *Record) valid() bool {
	if len(r.Kind) == 0 || len(r.Kind) > 32 || len(r.Key) == 0 || len(r.Key) > maxKey || len(r.Value) > maxValue || r.Version == 0 {
		return false
	}
	for _, c := range r.Kind { // it names a file
		if c < 'a' || c > 'z' {
			return false
		}
	}
	if r.Value == nil {
		return true
	}
	value, err := json.Marshal(r.Value)
	r.Value = value
	return err == nil
}

// name finds a record; sum tells two of one name apart.
func (r *Record) name() uint64 { return hash(r.Kind, r.Key) }
func (r *Record) sum() uint64 {
	return hash(r.Kind, r.Key, strconv.FormatUint(r.Version, 10), r.Writer, string(r.Value),
		strconv.FormatInt(r.Expires, 10), strconv.FormatInt(r.Stamp, 10))
}

// hash is the same on every node.
func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return mix(h.Sum64())
}

// mix spreads bits: FNV's low ones are weak (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
