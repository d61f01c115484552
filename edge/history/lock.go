package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrLocked says that another process uses the directory.
var ErrLocked = errors.New("another process uses it")

// lock makes this process the only one that uses a directory, until the file is
// closed or the process ends, in whatever way: two servers on the same files would
// write over each other.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
