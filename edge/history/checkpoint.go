package history

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/position"
)

// The file "checkpoints", beside the streams, says how far each had come at some
// times. What is not there at the start, was then, and has not expired since, is
// missed: a whole stream, its oldest batches or its newest ones. A line is
//
//	H<origin> own|copy <Unix milliseconds> <first> <last> <bytes> <CRC-32C of all before it>
const checkpointsFile = "checkpoints"

// checkpoint is what a stream was at a time. What is beyond last was written later.
type checkpoint struct {
	origin      position.Origin
	own         bool
	at          time.Time
	first, last uint64 // sequences of the stream; first is 0 before there is one
	bytes       uint64
}

const (
	// perAge is how many checkpoints a stream has in its age: how exactly it is known
	// what has expired.
	perAge = 64
	// perSize is how many are made while a stream fills: how exactly it is known what
	// was dropped for its size.
	perSize = 16
)

func (c *checkpoint) String() string {
	whose := "copy"
	if c.own {
		whose = "own"
	}
	return fmt.Sprintf("%s %s %d %d %d %d", streamName(c.origin), whose, c.at.UnixMilli(), c.first, c.last, c.bytes)
}

func sumOf(line string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(line), castag))
}

func parseCheckpoint(line string) (c checkpoint, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 || sumOf(line[:i]) != line[i+1:] {
		return c, false
	}
	var name, whose string
	var at int64
	if _, err := fmt.Sscan(line[:i], &name, &whose, &at, &c.first, &c.last, &c.bytes); err != nil {
		return c, false
	}
	c.own, c.at = whose == "own", time.UnixMilli(at)
	c.origin, ok = originOf(name)
	return c, ok
}

// checkpoints are those of all streams, oldest first. One goroutine at a time.
type checkpoints struct {
	path string
	of   map[position.Origin][]checkpoint
}

// load reads the file. The error says what of it is not there; the rest is.
func (cs *checkpoints) load() error {
	cs.of = make(map[position.Origin][]checkpoint)
	b, err := os.ReadFile(cs.path)
	if err != nil {
		return err
	}
	bad := 0
	for line := range strings.Lines(string(b)) {
		if c, ok := parseCheckpoint(strings.TrimSuffix(line, "\n")); ok {
			cs.of[c.origin] = append(cs.of[c.origin], c)
		} else {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d lines of %s cannot be read", bad, checkpointsFile)
	}
	return nil
}

// add notes what a stream is now. Of those that are older than its age, none is
// needed; of the rest, one now and then, and the newest.
func (cs *checkpoints) add(c checkpoint, age time.Duration) {
	all := cs.of[c.origin]
	for len(all) > 0 && all[0].at.Before(c.at.Add(-age)) {
		all = all[1:]
	}
	if n := len(all); n > 1 && c.at.Sub(all[n-2].at) < age/perAge {
		all = all[:n-1]
	}
	cs.of[c.origin] = append(slices.Clone(all), c)
}

// newest returns the last checkpoint of each stream.
func (cs *checkpoints) newest() (out []checkpoint) {
	for _, o := range slices.Sorted(maps.Keys(cs.of)) {
		all := cs.of[o]
		out = append(out, all[len(all)-1])
	}
	return out
}

// begun reports whether the stream of an origin has been made.
func (cs *checkpoints) begun(o position.Origin) bool {
	all := cs.of[o]
	return len(all) > 0 && all[len(all)-1].first > 0
}

// own reports whether an origin is a life of this node, as far as is known.
func (cs *checkpoints) own(o position.Origin) bool {
	all := cs.of[o]
	return len(all) > 0 && all[len(all)-1].own
}

// save writes the file.
func (cs *checkpoints) save() error {
	var text bytes.Buffer
	for _, o := range slices.Sorted(maps.Keys(cs.of)) {
		for _, c := range cs.of[o] {
			line := c.String()
			fmt.Fprintf(&text, "%s %s\n", line, sumOf(line))
		}
	}
	f, err := os.CreateTemp(filepath.Dir(cs.path), checkpointsFile+".*")
	if err != nil {
		return fmt.Errorf("checkpoints: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), cs.path)
	}
	if err != nil {
		return fmt.Errorf("checkpoints: %w", err)
	}
	return nil
}

// dropped returns the sequence up to which age and size may have dropped a stream's
// batches.
func dropped(all []checkpoint, info *jetstream.StreamInfo, now time.Time) uint64 {
	cutoff := now.Add(-info.Config.MaxAge)
	i := slices.IndexFunc(all, func(c checkpoint) bool { return !c.at.Before(cutoff) })
	if i < 0 {
		return ^uint64(0) // all of it
	}
	c := all[len(all)-1]
	until := max(all[i].last, max(c.first, 1)-1)
	if over := int64(c.bytes) + 2*info.Config.MaxBytes/perSize - info.Config.MaxBytes; over > 0 && info.State.LastSeq > c.last {
		// Since then it grew by two parts at most, and lost as much; by how many batches
		// is known by their average, twice.
		until = max(until, c.first+2*(c.last-c.first+1)*uint64(over)/c.bytes)
	}
	return until
}

// survey compares a stream with what it was. It reports whether its oldest batches
// were dropped rightly; those that were not, and the newest that are gone, are
// damage.
func (s *Store) survey(o position.Origin, info *jetstream.StreamInfo) (trimmed bool) {
	first, last, all := info.State.FirstSeq, info.State.LastSeq, s.points.of[o]
	if len(all) == 0 {
		return first > 1 // nobody knows
	}
	if was := all[len(all)-1].last; last < was {
		s.damage(o, was-last, errors.New("its newest batches are gone"))
	}
	if until := dropped(all, info, time.Now()); first > 1 && first-1 > until {
		s.damage(o, first-1-until, errors.New("its oldest batches are gone, and neither for age nor for size"))
		return false
	}
	return first > 1
}
