package edge

import (
	"math"
	"runtime"
	"testing"
)

func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		files        uint64
		memory, logs int64
		want         int
	}{
		{0, 0, 256 << 20, mostConns},
		{1024, 0, 0, 1024 - spareFiles},
		{math.MaxUint64, 0, 0, mostConns},
		{1 << 20, 1 << 30, 256 << 20, (768<<20 - 256<<20) / perConnection},
		{100, 1 << 30, 0, fewestConns},
		{1 << 20, 64 << 20, 256 << 20, fewestConns},
	} {
		if got := capacity(c.files, c.memory, c.logs); got != c.want {
			t.Errorf("capacity(%d, %d, %d) = %d; want %d", c.files, c.memory, c.logs, got, c.want)
		}
	}
}

func TestThisMachineIsKnown(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	if n := openFiles(); n == 0 {
		t.Error("no limit of open files")
	}
	if n := memoryLimit(); n < 16<<20 || n > 1<<50 {
		t.Errorf("%d bytes of memory", n)
	}
}
