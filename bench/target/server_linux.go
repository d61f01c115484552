package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/chappe-relay/chappe/bench/certificate"
	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/sign"
)

// Build builds the binary under test into dir, on all CPUs, and returns its
// path. It needs the go command and a working directory inside the module.
func Build(ctx context.Context, cpus CPUs, dir string) (string, error) {
	path := filepath.Join(dir, "chappe")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/chappe-relay/chappe/edge/cmd/chappe")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := on(cpus.All, cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out.Bytes())
	}
	return path, nil
}

// Server is the process under test.
type Server struct {
	Addr   netip.AddrPort
	secure bool
	admin  netip.AddrPort
	upload string // private key that signs plugins
	cmd    *exec.Cmd
	dir    string
	dead   chan struct{} // closed when the process has ended
}

// Start starts a binary on one CPU with the configuration of this package, and
// waits until it answers. Its log goes to logs. secure gives it TLS, with a
// certificate of its own. Stop it.
func Start(ctx context.Context, binary string, core int, secure bool, logs io.Writer) (s *Server, err error) {
	dir, err := os.MkdirTemp("", "chappe-bench-")
	if err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	client, err := free()
	if err != nil {
		return nil, err
	}
	admin, err := free()
	if err != nil {
		return nil, err
	}
	public, upload, err := sign.Generate()
	if err != nil {
		return nil, err
	}
	file, pair := filepath.Join(dir, "chappe.yaml"), ""
	if secure {
		pair = filepath.Join(dir, "pair.pem")
		if _, err := certificate.Write(pair, net.IPv4(127, 0, 0, 1)); err != nil {
			return nil, fmt.Errorf("start the server: %w", err)
		}
	}
	if err := os.WriteFile(file, []byte(Config(client.String(), admin.String(), public, pair)), 0o600); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	cmd := exec.Command(binary, "serve", "-config", file)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, logs, logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt reaches the server by Stop alone
	if err := on([]int{core}, cmd.Start); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	s = &Server{Addr: client, secure: secure, admin: admin, upload: upload, cmd: cmd, dir: dir, dead: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // it is ended by a signal; how it ended is not a result
		close(s.dead)
	}()
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// startLimit is how long a server may take until it answers.
const startLimit = 15 * time.Second

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/v1/probe", nil)
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: Trusting()}}).Do(req)
		if err == nil {
			if err := resp.Body.Close(); err != nil {
				return fmt.Errorf("probe: %w", err)
			}
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.dead:
			return errors.New("the server ended at once; its log says why (-v)")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// free finds a loopback port that nobody listens on.
func free() (netip.AddrPort, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a port: %w", err)
	}
	addr, err := netip.ParseAddrPort(l.Addr().String())
	return addr, errors.Join(err, l.Close())
}

// URL returns the same as a base URL.
func (s *Server) URL() string {
	if s.secure {
		return "https://" + s.Addr.String()
	}
	return "http://" + s.Addr.String()
}

// Address returns where clients connect.
func (s *Server) Address() netip.AddrPort { return s.Addr }

// Plug uploads a plugin and binds it to a channel.
func (s *Server) Plug(ctx context.Context, name string, wasm []byte, channel string) error {
	private, err := sign.ParsePrivate(s.upload)
	if err != nil {
		return err
	}
	b := &manifest.Bundle{Manifest: fmt.Appendf(nil, `{"name":%q,"abi":1,"serial":1}`, name), Wasm: wasm}
	b.Signature = sign.Sign("bench", private, sign.Statement{Digest: b.Digest(), Name: name, Serial: 1})
	c := &api.Client{URL: "http://" + s.admin.String(), Token: adminToken}
	_, err = c.Push(ctx, b)
	if err != nil {
		return fmt.Errorf("push %s: %w", name, err)
	}
	if _, err := c.Bind(ctx, name, api.BindRequest{Channels: []string{channel}}); err != nil {
		return fmt.Errorf("bind %s: %w", name, err)
	}
	return nil
}

// CPU returns the user and system time the server has used.
func (s *Server) CPU() (time.Duration, error) { return cpu(s.cmd.Process.Pid) }

// RSS returns the server's resident memory, in bytes.
func (s *Server) RSS() (int64, error) { return rss(s.cmd.Process.Pid) }

// Queues returns the kernel's queues of the server's connections, by the
// client's port.
func (s *Server) Queues() (map[uint16]Queue, error) { return queues(s.Addr.Port()) }

// stopLimit is how long a server may take to end before it is killed.
const stopLimit = 10 * time.Second

// Stop ends the server, with force if it must, and removes its files.
func (s *Server) Stop() error {
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-s.dead:
	case <-time.After(stopLimit):
		err = errors.Join(err, errors.New("the server did not end on SIGTERM"), s.cmd.Process.Kill())
		<-s.dead
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
