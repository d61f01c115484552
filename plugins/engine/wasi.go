package engine

import (
	"context"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/plugins/instrument"
)

const (
	badf = 8 // EBADF of WASI
	// environ is all of a guest's environment: Go's collector keeps its heap small.
	environ = "GOGC=25\x00"
	// maxLine bounds what fd_write takes at a time.
	maxVectors = 16
)

// linkWASI gives a runtime the functions of ABI §12: a guest in Go starts, and
// reaches nothing.
func linkWASI(ctx context.Context, run wazero.Runtime) error {
	b := run.NewHostModuleBuilder(instrument.WASI)
	add := func(name string, params []api.ValueType, f func(i *instance, m api.Module, s []uint64) uint32) {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, s []uint64) {
			i := instanceOf(ctx)
			i.spend(0)
			s[0] = uint64(f(i, m, s))
		}), params, []api.ValueType{i32}).Export(name)
	}
	n := func(k int) []api.ValueType {
		out := make([]api.ValueType, k)
		for i := range out {
			out[i] = i32
		}
		return out
	}
	add("fd_write", n(4), fdWrite)
	add("clock_time_get", []api.ValueType{i32, i64, i32}, func(i *instance, m api.Module, s []uint64) uint32 {
		le.PutUint64(view(m, word(s[2]), 8), i.now*1e6)
		return 0
	})
	add("random_get", n(2), func(i *instance, m api.Module, s []uint64) uint32 {
		b := view(m, word(s[0]), word(s[1]))
		i.spend(len(b))
		for len(b) > 0 {
			var w [8]byte
			le.PutUint64(w[:], i.random.Uint64())
			b = b[copy(b, w[:]):]
		}
		return 0
	})
	add("poll_oneoff", n(4), func(i *instance, m api.Module, s []uint64) uint32 {
		in, out, k := word(s[0]), word(s[1]), min(word(s[2]), maxVectors)
		for at := range k {
			to := view(m, out+32*at, 32)
			clear(to)
			copy(to, view(m, in+48*at, 8)) // userdata; type 0 is the clock
		}
		le.PutUint32(view(m, word(s[3]), 4), k)
		return 0
	})
	add("sched_yield", nil, func(*instance, api.Module, []uint64) uint32 { return 0 })
	add("args_get", n(2), func(*instance, api.Module, []uint64) uint32 { return 0 })
	add("args_sizes_get", n(2), func(_ *instance, m api.Module, s []uint64) uint32 {
		le.PutUint32(view(m, word(s[0]), 4), 0)
		le.PutUint32(view(m, word(s[1]), 4), 0)
		return 0
	})
	add("environ_get", n(2), func(_ *instance, m api.Module, s []uint64) uint32 {
		le.PutUint32(view(m, word(s[0]), 4), word(s[1]))
		copy(view(m, word(s[1]), uint32(len(environ))), environ)
		return 0
	})
	add("environ_sizes_get", n(2), func(_ *instance, m api.Module, s []uint64) uint32 {
		le.PutUint32(view(m, word(s[0]), 4), 1)
		le.PutUint32(view(m, word(s[1]), 4), uint32(len(environ)))
		return 0
	})
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) { panic(stopExit) }),
		n(1), nil).Export("proc_exit")
	for name, params := range inert {
		add(name, params, func(*instance, api.Module, []uint64) uint32 { return badf })
	}
	_, err := b.Instantiate(ctx)
	return err
}

// inert are functions that Go links with os, fmt or encoding/json. There are no
// files: every descriptor is a bad one.
var inert = map[string][]api.ValueType{
	"fd_close":            {i32},
	"fd_fdstat_get":       {i32, i32},
	"fd_fdstat_set_flags": {i32, i32},
	"fd_filestat_get":     {i32, i32},
	"fd_prestat_get":      {i32, i32},
	"fd_prestat_dir_name": {i32, i32, i32},
	"fd_read":             {i32, i32, i32, i32},
	"path_filestat_get":   {i32, i32, i32, i32, i32},
	"path_open":           {i32, i32, i32, i32, i32, i64, i64, i32, i32},
}

// fdWrite puts what a guest prints into its log, a line at a time.
func fdWrite(i *instance, m api.Module, s []uint64) uint32 {
	fd := word(s[0])
	if fd != 1 && fd != 2 {
		return badf
	}
	var text strings.Builder
	for at := range min(word(s[2]), maxVectors) {
		v := view(m, word(s[1])+8*at, 8)
		text.Write(view(m, le.Uint32(v), le.Uint32(v[4:])))
	}
	i.spend(text.Len())
	le.PutUint32(view(m, word(s[3]), 4), uint32(text.Len()))
	for line := range strings.Lines(text.String()) {
		i.log(2*fd-1, []byte(strings.TrimSuffix(line, "\n"))) // 1: info, 2: error
	}
	return 0
}
