package faults

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chappe-relay/chappe/bench/udpline"
)

// regionOf are the regions of the nodes.
var regionOf = []string{"a", "b", "b", "c"}

// cluster is the nodes.
type cluster struct {
	net    *network
	dir    string
	binary string
	trust  *tls.Config     // of clients; nil: plain HTTP
	lines  []*udpline.Line // to each node, for WebTransport; nil: none

	special func(files string) *exec.Cmd // what runs as the first node; nil: as all others

	mu    sync.Mutex
	procs []*process // of each node the newest
	lives []*process // all there were
}

// process is one life of a node.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// prepare makes the network and the configurations.
func prepare(binary, dir string, l Load, p pipe, line *udpline.Options) (*cluster, error) {
	n, err := makeNetwork(len(regionOf))
	if err != nil {
		return nil, err
	}
	c := &cluster{net: n, dir: dir, binary: binary, procs: make([]*process, len(regionOf))}
	if p != nil {
		err = n.lay(p)
	}
	if err == nil {
		err = c.configure(l)
	}
	for i := range regionOf {
		if line != nil && err == nil {
			var l *udpline.Line
			if l, err = udpline.Open(n.client(i)+":8080", *line); err == nil {
				c.lines = append(c.lines, l)
			}
		}
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// open starts all nodes.
func (c *cluster) open() error {
	for i := range regionOf {
		if err := c.start(i); err != nil {
			return err
		}
	}
	for i := range regionOf {
		if err := c.ready(i, 30*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) data(i int) string { return filepath.Join(c.dir, fmt.Sprintf("data%d", i)) }

// start begins a life of a node.
func (c *cluster) start(i int) error {
	dir := filepath.Join(c.dir, regionOf[i])
	c.mu.Lock()
	name := filepath.Join(c.dir, fmt.Sprintf("n%d.%d.log", i, len(c.lives)))
	c.mu.Unlock()
	logs, err := os.Create(name)
	if err != nil {
		return err
	}
	defer logs.Close()
	files := strings.Join([]string{filepath.Join(dir, "chappe.yaml"), filepath.Join(dir, "mesh.yaml"), filepath.Join(dir, fmt.Sprintf("n%d.yaml", i))}, ",")
	cmd := c.net.command(i, c.binary, "serve", "-config", files)
	if c.special != nil && i == 0 {
		cmd = c.special(files)
	}
	cmd.Stderr = logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node %d: %w", i, err)
	}
	p := &process{cmd, name, make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	c.mu.Lock()
	c.procs[i], c.lives = p, append(c.lives, p)
	c.mu.Unlock()
	return nil
}

// ready waits until a node serves.
func (c *cluster) ready(i int, most time.Duration) error {
	until := time.Now().Add(most)
	for {
		if r, err := c.quick().Get(c.url(i) + "/v1/probe"); err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode == 200 {
				return nil
			}
		}
		select {
		case <-c.process(i).done:
			return fmt.Errorf("node %d ended: %s", i, c.tail(i))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(until) {
			return fmt.Errorf("node %d does not serve: %s", i, c.tail(i))
		}
	}
}

// quick is for questions that are answered at once.
func (c *cluster) quick() *http.Client {
	return &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: c.trust.Clone(), DisableKeepAlives: true}}
}

func (c *cluster) url(i int) string {
	scheme := "http"
	if c.trust != nil {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s:8080", scheme, c.net.client(i))
}

// doors are how clients reach the nodes.
func (c *cluster) doors() (all []door) {
	for i := range regionOf {
		all = append(all, door{nodeName(i), c.url(i)})
	}
	return all
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i) }

func (c *cluster) process(i int) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.procs[i]
}

// tail is the end of a node's log.
func (c *cluster) tail(i int) string {
	b, _ := os.ReadFile(c.process(i).log)
	return string(b[max(0, len(b)-600):])
}

func (c *cluster) signal(i int, s syscall.Signal) { c.process(i).cmd.Process.Signal(s) }

// kill ends a node without a word.
func (c *cluster) kill(i int) {
	c.signal(i, syscall.SIGKILL)
	<-c.process(i).done
}

// again starts nodes that have ended, and waits until they serve.
func (c *cluster) again(nodes []int) error {
	for _, i := range nodes {
		if err := c.start(i); err != nil {
			return err
		}
	}
	for _, i := range nodes {
		if err := c.ready(i, 30*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// stop ends it as an operator would.
func (c *cluster) stop(i int) {
	c.signal(i, syscall.SIGTERM)
	<-c.process(i).done
}

// pairs yields the links between a region and all others.
func pairs(region string) (out [][2]int) {
	for i, a := range regionOf {
		for j, b := range regionOf {
			if a == region && b != region {
				out = append(out, [2]int{i, j})
			}
		}
	}
	return out
}

// bad returns and forgets what went wrong with the network.
func (c *cluster) bad() error {
	err := c.net.bad
	c.net.bad = nil
	return err
}

func (c *cluster) close() {
	for _, l := range c.lines {
		l.Close()
	}
	for i := range c.procs {
		if p := c.process(i); p != nil {
			p.cmd.Process.Signal(syscall.SIGCONT)
			p.cmd.Process.Kill()
			<-p.done
		}
	}
	c.net.close()
}

var errNotRun = errors.New("not run")
