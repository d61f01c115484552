// Package registry keeps what a host knows about plugins: bundles by digest,
// bindings of channel patterns to versions, and the table that messages are
// looked up in.
//
// On disk, under one directory of mode 0700:
//
//	bundles/<digest>       a version, as manifest.Encode writes it
//	state.json, state.2    bindings, versions and serials, twice: one damaged copy does no harm
//
// Files are written beside, synced, and renamed into place.
package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
)

// Store is the directory. Its methods may be called from one goroutine at a
// time for writing; reads need no lock.
type Store struct {
	dir  string
	root *os.Root
}

// Open opens or makes the directory.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("plugin store: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // compiled code lies in it
		return nil, fmt.Errorf("plugin store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("plugin store: %w", err)
	}
	s := &Store{dir: dir, root: root}
	if err := root.Mkdir(bundles, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		root.Close()
		return nil, fmt.Errorf("plugin store: %w", err)
	}
	return s, nil
}

const bundles = "bundles"

// Close ends the use of the directory.
func (s *Store) Close() error { return s.root.Close() }

// maxBundle is for a module, a manifest, and what is around them.
const maxBundle = manifest.MaxWasm + manifest.MaxBytes + 1024

// Get reads a version and checks that it is what its digest says.
func (s *Store) Get(d policy.Digest) (*manifest.Bundle, error) {
	raw, err := s.read(bundles+"/"+manifest.Hex(d), maxBundle)
	if err != nil {
		return nil, fmt.Errorf("version %s: %w", manifest.Hex(d), err)
	}
	b, err := manifest.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("version %s: %w", manifest.Hex(d), err)
	}
	if b.Digest() != d {
		return nil, fmt.Errorf("version %s: the file holds version %s", manifest.Hex(d), manifest.Hex(b.Digest()))
	}
	return b, nil
}

// Put keeps a version.
func (s *Store) Put(b *manifest.Bundle) error {
	d := b.Digest()
	if err := s.write(bundles+"/"+manifest.Hex(d), b.Encode()); err != nil {
		return fmt.Errorf("version %s: %w", manifest.Hex(d), err)
	}
	return nil
}

// Delete removes a version, if it is there.
func (s *Store) Delete(d policy.Digest) error {
	if err := s.root.Remove(bundles + "/" + manifest.Hex(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("version %s: %w", manifest.Hex(d), err)
	}
	return s.sync(bundles)
}

// List returns the digests of all files that are named like a version, whatever
// is in them.
func (s *Store) List() ([]policy.Digest, error) {
	entries, err := fs.ReadDir(s.root.FS(), bundles)
	if err != nil {
		return nil, fmt.Errorf("plugin store: %w", err)
	}
	var out []policy.Digest
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), beside) { // a write that a crash cut short
			s.root.Remove(bundles + "/" + e.Name())
			continue
		}
		if d, err := manifest.ParseDigest(e.Name()); err == nil {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *Store) read(name string, most int64) ([]byte, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return raw, err
}

// beside ends the name of a file that is being written.
const beside = ".new"

func (s *Store) write(name string, data []byte) (err error) {
	f, err := s.root.OpenFile(name+beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.root.Rename(name+beside, name)
	}
	if err != nil {
		s.root.Remove(name + beside)
		return err
	}
	return s.sync(filepath.Dir(name))
}

// sync makes a rename or removal in a directory last.
func (s *Store) sync(dir string) error {
	f, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some file systems cannot sync a directory and say so; the rename stands.
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
