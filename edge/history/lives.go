package history

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// The file "lives" lists the streams that this node began for itself, beside the
// streams: one that is gone as a whole is missed. A line is an origin and when
// it began, in Unix seconds.
const livesFile = "lives"

type birth struct {
	origin position.Origin
	at     time.Time
}

// births reads the file. A line that cannot be read is passed over.
func (s *Store) births() (out []birth) {
	b, err := os.ReadFile(filepath.Join(s.cfg.Dir, livesFile))
	if err != nil {
		return nil
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		var name string
		var at int64
		if _, err := fmt.Sscan(sc.Text(), &name, &at); err != nil {
			continue
		}
		if o, ok := originOf(name); ok {
			out = append(out, birth{o, time.Unix(at, 0)})
		}
	}
	return out
}

// born adds an origin to the file.
func (s *Store) born(o position.Origin) error {
	return s.rewrite(append(without(s.births(), o), birth{o, time.Now()}))
}

// gone drops an origin of which nothing is left.
func (s *Store) gone(o position.Origin) error { return s.rewrite(without(s.births(), o)) }

func without(all []birth, o position.Origin) []birth {
	return slices.DeleteFunc(all, func(b birth) bool { return b.origin == o })
}

func (s *Store) rewrite(all []birth) error {
	var text bytes.Buffer
	for _, b := range all {
		fmt.Fprintf(&text, "%s %d\n", streamName(b.origin), b.at.Unix())
	}
	path := filepath.Join(s.cfg.Dir, livesFile)
	f, err := os.CreateTemp(s.cfg.Dir, livesFile+".*")
	if err != nil {
		return fmt.Errorf("lives: %w", err)
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
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("lives: %w", err)
	}
	return nil
}
