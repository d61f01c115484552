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

	mu      sync.Mutex
	pair    *tls.Certificate
	stamp   stamp
	checked time.Time
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
	if now := f.now(); now.Sub(f.checked) >= check {
		f.checked = now
		s, err := f.stat()
		if err == nil && s != f.stamp {
			if err = f.load(s); err == nil {
				f.logger.Info("certificate changed", "file", f.cert, "until", f.pair.Leaf.NotAfter)
			}
		}
		if err != nil {
			f.logger.Error("certificate stays the old one", "err", err)
		}
	}
	return f.pair, nil
}
