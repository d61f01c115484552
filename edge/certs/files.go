package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files is a certificate chain and its key in PEM files. When they change, the
// new pair is used from the next handshake on; a pair that cannot be read, or
// whose halves do not belong together, is logged and the old one stays.
type Files struct {
	cert, key string
	logger    *slog.Logger
	now       func() time.Time

	mu       sync.Mutex
	pair     *tls.Certificate
	stamp    stamp
	checked  time.Time
	err      error // of the last look
	failures uint64
}

// stamp tells whether the files are those that were read.
type stamp struct {
	cert, key time.Time
	sizes     [2]int64
}

// check is how often a change is looked for, at handshakes.
const check = 5 * time.Second

// NewFiles reads the files. The error names the file.
func NewFiles(cert, key string, logger *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, logger: logger, now: time.Now}
	s, err := f.stat()
	if err != nil {
		return nil, err
	}
	if err := f.load(s); err != nil {
		return nil, err
	}
	f.checked = f.now()
	return f, nil
}

func (f *Files) stat() (s stamp, err error) {
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return s, fmt.Errorf("certificate: %w", err)
		}
		s.sizes[i] = info.Size()
		if i == 0 {
			s.cert = info.ModTime()
		} else {
			s.key = info.ModTime()
		}
	}
	return s, nil
}

func (f *Files) load(s stamp) error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", f.cert, err)
	}
	f.pair, f.stamp = &pair, s
	return nil
}

// GetCertificate returns the pair in force. See Source.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookLocked(f.now())
	return f.pair, nil
}

// lookLocked reads the files again when they have changed.
func (f *Files) lookLocked(now time.Time) {
	if now.Sub(f.checked) < check {
		return
	}
	f.checked = now
	s, err := f.stat()
	if err == nil && s != f.stamp {
		if err = f.load(s); err == nil {
			f.logger.Info("certificate changed", "file", f.cert, "until", f.pair.Leaf.NotAfter)
		}
	}
	if f.err = err; err != nil {
		f.failures++
		f.logger.Error("certificate stays the old one", "err", err)
	}
}

// Health tells when the pair in force ends, and whether a newer one cannot be read.
// When the files are to be renewed is not known here: a tenth of its life before
// its end the pair is late. See Source.
func (f *Files) Health(now time.Time) Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookLocked(f.now())
	leaf := f.pair.Leaf
	h := Health{Ends: leaf.NotAfter, Failures: f.failures}
	if f.err != nil {
		h.Problems = append(h.Problems, fmt.Sprintf("the certificate stays the old one: %v", f.err))
	}
	if now.After(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 10)) {
		h.Problems = append(h.Problems, fmt.Sprintf("the certificate in %s ends at %s", f.cert, leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	return h
}
