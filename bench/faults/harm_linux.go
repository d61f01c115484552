package faults

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// harm does something to a file of a node's store, as a bad disk would.
func (c *cluster) harm(i int, r *rand.Rand) error {
	var blocks, all []string
	filepath.WalkDir(c.data(i), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, path)
			if strings.HasSuffix(path, ".blk") {
				blocks = append(blocks, path)
			}
		}
		return nil
	})
	if len(blocks) == 0 {
		return fmt.Errorf("node %d has no file of messages", i)
	}
	file := blocks[r.IntN(len(blocks))]
	if r.IntN(4) == 0 {
		file = all[r.IntN(len(all))]
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	at := r.IntN(len(b) + 1)
	switch r.IntN(4) {
	case 0:
		return os.Remove(file)
	case 1:
		b = b[:at]
	case 2:
		clear(b[at:min(len(b), at+4096)])
	default:
		for k := range b[at:min(len(b), at+16)] {
			b[at+k] ^= byte(1 + r.IntN(255))
		}
	}
	return os.WriteFile(file, b, 0o600)
}
