package edge

import (
	"math"
	"runtime"
	"testing"
)

func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		memory, logs int64
		want         int
	}{
		{0, 256 << 20, mostConns},
		{1 << 30, 256 << 20, (768<<20 - 256<<20) / perConnection},
		{64 << 20, 256 << 20, fewestConns},
		{math.MaxInt64, 0, mostConns},
	} {
		if got := capacity(c.memory, c.logs); got != c.want {
			t.Errorf("capacity(%d, %d) = %d; want %d", c.memory, c.logs, got, c.want)
		}
	}
	for files, want := range map[uint64]int{0: mostConns, 100: fewestConns, 1024: 1024 - spareFiles, math.MaxUint64: mostConns} {
		if got := sockets(files); got != want {
			t.Errorf("sockets(%d) = %d; want %d", files, got, want)
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
