package control

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file is a line that names the layout and the SHA-256 of the rest, and then a
// line for each record.
const magic = "chappe control 1 "

const (
	suffix  = ".records"
	beside  = ".new"     // being written
	aside   = ".damaged" // kept for people
	maxFile = 256 << 20  // bytes that are read
)

// load reads all files.
func (s *Store) load() error {
	if s.cfg.Dir == "" {
		return nil
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		kind, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		records, err := read(filepath.Join(s.cfg.Dir, e.Name()), kind)
		if err == nil {
			for _, r := range records {
				s.mergeLocked(r)
			}
			continue
		}
		s.counts.Damaged++
		s.damaged = append(s.damaged, kind)
		s.cfg.Logger.Error("control: a file is damaged; its records come back from other nodes", "code", CodeDamaged, "kind", kind, "err", err)
		if err := os.Rename(filepath.Join(s.cfg.Dir, e.Name()), filepath.Join(s.cfg.Dir, e.Name()+aside)); err != nil {
			return fmt.Errorf("set %s aside: %w", e.Name(), err)
		}
	}
	s.swept = time.Time{}
	s.lapseLocked(s.cfg.Now())
	return nil
}

func read(path, kind string) ([]*Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	head, rest, ok := bytes.Cut(raw, []byte("\n"))
	if want := fmt.Sprintf("%s%x", magic, sha256.Sum256(rest)); !ok || len(raw) > maxFile || string(head) != want {
		return nil, errors.New("its checksum is wrong")
	}
	var out []*Record
	for line := range bytes.Lines(rest) {
		r := &Record{}
		if err := json.Unmarshal(line, r); err != nil {
			return nil, err
		}
		if r.Kind != kind || !r.valid() {
			return nil, fmt.Errorf("a record that is none: %.80q", r.Key)
		}
		out = append(out, r)
	}
	return out, nil
}

// write replaces a kind's file. Called with s.disk held.
func (s *Store) write(kind string, records []*Record) (err error) {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	path := filepath.Join(s.cfg.Dir, kind+suffix)
	f, err := os.OpenFile(path+beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(path + beside)
		}
	}()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "%s%x\n", magic, sha256.Sum256(body.Bytes()))
	w.Write(body.Bytes())
	err = w.Flush() // the first error of all writes
	if err == nil {
		err = s.sync(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(path+beside, path); err != nil {
		return err
	}
	return s.syncDir()
}

// syncDir makes a rename last. Some file systems cannot, and say so.
func (s *Store) syncDir() error {
	f, err := os.Open(s.cfg.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.sync(f); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// save writes the kinds that changed, at most some times a second.
func (s *Store) save(now time.Time) {
	s.mu.Lock()
	every := saveEvery
	if s.failing {
		every = retryEvery
	}
	var kinds []string
	if now.Sub(s.saved) >= every && s.cfg.Dir != "" {
		for kind := range s.dirty {
			kinds = append(kinds, kind)
		}
	}
	s.mu.Unlock()
	slices.Sort(kinds)
	for _, kind := range kinds {
		s.disk.Lock()
		s.mu.Lock()
		s.saved = now
		delete(s.dirty, kind)
		records := s.kindLocked(kind)
		s.mu.Unlock()
		err := s.write(kind, records)
		s.mu.Lock()
		if err != nil {
			s.failedLocked(kind, err)
		} else {
			s.failing = false
		}
		s.mu.Unlock()
		s.disk.Unlock()
	}
}

// failedLocked notes a save that failed; it is done again later.
func (s *Store) failedLocked(kind string, err error) {
	s.dirty[kind] = true
	s.counts.Failed++
	if !s.failing {
		s.cfg.Logger.Error("control: the store takes nothing; what other nodes tell is in memory only", "code", CodeStore, "kind", kind, "err", err)
	}
	s.failing = true
}

// Close keeps what was not kept yet.
func (s *Store) Close() {
	s.mu.Lock()
	s.saved = time.Time{}
	s.mu.Unlock()
	s.save(s.cfg.Now())
}
