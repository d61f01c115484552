package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/relay/policy"
)

// Compiling cannot be interrupted, and takes time that grows with the square of
// some things in a module. So it is done in a child process, which may be killed;
// it fills a directory that wazero loads code from. Whoever can write there runs
// code here: the directory is this user's alone, and its files are compared with
// the sums that were taken when the child had ended.

// errCompile is why a module that broke no rule could not be compiled.
var errCompile = errors.New("compile")

const (
	compileTime = 20 * time.Second
	childDir    = "CHAPPE_COMPILE_INTO" // environment of the child: the directory
)

// private makes a directory that is this user's alone, or says why it is not.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return checkPrivate(dir)
}

// compiled returns the cache with a version's code; nil if none is kept.
func (e *Engine) compiled(ctx context.Context, d policy.Digest, wasm []byte) (wazero.CompilationCache, error) {
	if e.cfg.Dir == "" {
		return nil, nil
	}
	dir := filepath.Join(e.cfg.Dir, hex.EncodeToString(d[:]))
	if !intact(dir, wasm) {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("compiled code: %w", err)
		}
		if err := private(dir); err != nil {
			return nil, fmt.Errorf("compiled code: %w", err)
		}
		into := compileInto
		if e.cfg.Child {
			into = compileInChild
		}
		ctx, cancel := context.WithTimeoutCause(ctx, compileTime, errors.New("it takes too long"))
		err := into(ctx, dir, wasm)
		cancel()
		if err == nil {
			err = seal(dir, wasm)
		}
		if err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
	}
	return wazero.NewCompilationCacheWithDir(dir)
}

func (e *Engine) forget(d policy.Digest) {
	if e.cfg.Dir != "" {
		os.RemoveAll(filepath.Join(e.cfg.Dir, hex.EncodeToString(d[:])))
	}
}

// sums is the file beside the code: a line for the module, and for each file.
const sums = "sums"

// listing is what sums must hold for what lies in a directory.
func listing(dir string, wasm []byte) (string, error) {
	var out strings.Builder
	fmt.Fprintf(&out, "%x module, compiled by %s\n", sha256.Sum256(wasm), compiler())
	n := 0
	err := filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() || f.Name() == sums {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		n++
		fmt.Fprintf(&out, "%x %s\n", sha256.Sum256(b), filepath.ToSlash(name))
		return err
	})
	if err == nil && n == 0 {
		err = errors.New("no code")
	}
	return out.String(), err
}

// compiler names what made the code: another one would not find its own, and
// compile in this process.
var compiler = sync.OnceValue(func() string {
	name := runtime.Version() + " " + runtime.GOARCH
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, d := range b.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				name += " " + d.Version
			}
		}
	}
	return name
})

func intact(dir string, wasm []byte) bool {
	said, err := os.ReadFile(filepath.Join(dir, sums))
	if err != nil || checkPrivate(dir) != nil {
		return false
	}
	is, err := listing(dir, wasm)
	return err == nil && is == string(said)
}

func seal(dir string, wasm []byte) error {
	is, err := listing(dir, wasm)
	if err != nil {
		return fmt.Errorf("%w: %w", errCompile, err)
	}
	if err := os.WriteFile(filepath.Join(dir, sums), []byte(is), 0o600); err != nil {
		return fmt.Errorf("compiled code: %w", err)
	}
	return nil
}

// compileInto compiles in this process.
func compileInto(ctx context.Context, dir string, wasm []byte) error {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return fmt.Errorf("compiled code: %w", err)
	}
	defer cache.Close(ctx)
	run := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(goPages).WithCompilationCache(cache))
	defer run.Close(ctx)
	if _, err := run.CompileModule(ctx, wasm); err != nil {
		return fmt.Errorf("%w: %w", errCompile, err)
	}
	return nil
}

// compileInChild runs this program again to compile.
func compileInChild(ctx context.Context, dir string, wasm []byte) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%w: %w", errCompile, err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = []string{childDir + "=" + dir, "GOMAXPROCS=1"}
	cmd.Stdin = bytes.NewReader(wasm)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(said.String())
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", errCompile, context.Cause(ctx))
		case text == "":
			text = err.Error()
		}
		return fmt.Errorf("%w: %s", errCompile, text[:min(len(text), maxTrace)])
	}
	return nil
}

// ChildMain is to be called first by a program whose engine compiles in a child
// process. In the child it does that and does not return.
func ChildMain() {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	bound()
	wasm, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = compileInto(context.Background(), dir, wasm)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, strings.TrimPrefix(err.Error(), errCompile.Error()+": "))
		os.Exit(1)
	}
	os.Exit(0)
}
