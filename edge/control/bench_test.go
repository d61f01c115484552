package control

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkPut keeps a record in a set of 10,000, on disk.
func BenchmarkPut(b *testing.B) {
	w := newWorld(b, 1, 1)
	p := w.nodes[0]
	s, err := Open(Config{Dir: p.dir, Writer: "r.n0"})
	if err != nil {
		b.Fatal(err)
	}
	var all []*Record
	for i := range 10_000 {
		all = append(all, &Record{Kind: "revocation", Key: fmt.Sprint("user/u", i), Version: 1, Writer: "r.n0", Value: []byte(`{"user":"u"}`)})
	}
	s.takeLocked(all, "r", time.Now())
	for i := range b.N {
		if _, err := s.Add("revocation", fmt.Sprint("user/v", i), nil, time.Now().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
}
