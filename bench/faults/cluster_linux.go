package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// regionOf are the regions of the nodes.
var regionOf = []string{"a", "b", "b", "c"}

// cluster is the nodes.
type cluster struct {
	net    *network
	dir    string
	binary string

	killed atomic.Bool
	harmed []bool // nodes whose store was

	mu    sync.Mutex
	procs []*process
}

// process is one life of a node.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// openCluster makes the configurations and starts all nodes.
func openCluster(binary, dir string, p pipe) (*cluster, error) {
	n, err := makeNetwork(len(regionOf))
	if err != nil {
		return nil, err
	}
	c := &cluster{net: n, dir: dir, binary: binary, procs: make([]*process, len(regionOf)), harmed: make([]bool, len(regionOf))}
	if p != nil {
		if err := n.lay(p); err != nil {
			n.close()
			return nil, err
		}
	}
	if err := c.configure(); err != nil {
		c.close()
		return nil, err
	}
	for i := range regionOf {
		if err := c.start(i); err != nil {
			c.close()
			return nil, err
		}
	}
	for i := range regionOf {
		if err := c.ready(i, 30*time.Second); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) configure() error {
	if out, err := exec.Command(c.binary, "regions", "init", "-dir", c.dir, "a=a:7422", "b=b:7422", "c=c:7422").CombinedOutput(); err != nil {
		return fmt.Errorf("regions init: %w: %s", err, out)
	}
	for i, region := range regionOf {
		text := fmt.Sprintf(`
client: {listen: "0.0.0.0:8080", public_url: "http://%s:8080"}
admin: {listen: "127.0.0.1:8081"}
data: %s
memory: 1GiB
auth: {keys: {k: {secret: %s}}}
limits: {ping: 1s, dead: 3s, rate: 100000, burst: 100000, batch: %d, admission: 2000}
drain: {deadline: 1s}
namespaces:
  "*": {history: true, age: 15m, entries: 100000, bytes: 64MiB, wide: true, anonymous: [all]}
  people: {presence: true}
mesh:
  node: n%d
  listen: "0.0.0.0:7422"
  peers:
`, c.net.client(i), c.data(i), tokenSecret, depth, i)
		for _, peer := range []string{"a", "b", "c"} {
			if peer == region {
				continue
			}
			var urls []string
			for j, of := range regionOf {
				if of == peer {
					urls = append(urls, fmt.Sprintf("%q", c.net.mesh(j, i)))
				}
			}
			text += fmt.Sprintf("    %s: {urls: [%s]}\n", peer, strings.Join(urls, ", "))
		}
		if region == "b" {
			other := 1
			if i == 1 {
				other = 2
			}
			text = strings.Replace(text, "  node: ", fmt.Sprintf("  route: \"0.0.0.0:7423\"\n  routes: [%q]\n  node: ", c.net.link(other, i)+":7423"), 1)
		}
		if err := os.WriteFile(filepath.Join(c.dir, region, fmt.Sprintf("n%d.yaml", i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) data(i int) string { return filepath.Join(c.dir, fmt.Sprintf("data%d", i)) }

// start begins a life of a node.
func (c *cluster) start(i int) error {
	dir := filepath.Join(c.dir, regionOf[i])
	logs, err := os.OpenFile(filepath.Join(c.dir, fmt.Sprintf("n%d.log", i)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logs.Close()
	files := strings.Join([]string{filepath.Join(dir, "chappe.yaml"), filepath.Join(dir, "mesh.yaml"), filepath.Join(dir, fmt.Sprintf("n%d.yaml", i))}, ",")
	cmd := c.net.command(i, c.binary, "serve", "-config", files)
	cmd.Stderr = logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node %d: %w", i, err)
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	c.mu.Lock()
	c.procs[i] = p
	c.mu.Unlock()
	return nil
}

// ready waits until a node serves.
func (c *cluster) ready(i int, most time.Duration) error {
	until := time.Now().Add(most)
	for {
		if r, err := quick.Get(c.url(i) + "/v1/probe"); err == nil {
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

var quick = &http.Client{Timeout: 2 * time.Second}

func (c *cluster) url(i int) string { return "http://" + c.net.client(i) + ":8080" }

func (c *cluster) urls() (all []string) {
	for i := range regionOf {
		all = append(all, c.url(i))
	}
	return all
}

func (c *cluster) process(i int) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.procs[i]
}

// tail is the end of a node's log.
func (c *cluster) tail(i int) string {
	b, _ := os.ReadFile(filepath.Join(c.dir, fmt.Sprintf("n%d.log", i)))
	return string(b[max(0, len(b)-600):])
}

func (c *cluster) signal(i int, s syscall.Signal) { c.process(i).cmd.Process.Signal(s) }

// kill ends a node without a word.
func (c *cluster) kill(i int) {
	c.killed.Store(true)
	c.signal(i, syscall.SIGKILL)
	<-c.process(i).done
}

// stop ends it as an operator would.
func (c *cluster) stop(i int) {
	c.signal(i, syscall.SIGTERM)
	<-c.process(i).done
}

var closeLine = regexp.MustCompile(`msg=close .*agent=(r\d+) .*dropped=(\d+)`)

// dropped is what the nodes' logs counted as told to each client. It is false if a
// node was killed: what its sessions were told is not in its log.
func (c *cluster) dropped() (by map[string]uint64, whole bool, err error) {
	if c.killed.Load() {
		return nil, false, nil
	}
	by = make(map[string]uint64)
	for i := range regionOf {
		b, err := os.ReadFile(filepath.Join(c.dir, fmt.Sprintf("n%d.log", i)))
		if err != nil {
			return nil, false, err
		}
		for _, m := range closeLine.FindAllStringSubmatch(string(b), -1) {
			n, err := strconv.ParseUint(m[2], 10, 64)
			if err != nil {
				return nil, false, err
			}
			by[m[1]] += n
		}
	}
	return by, true, nil
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

var gauges = regexp.MustCompile(`(?m)^chappe_log_(bytes|budget_bytes) (\S+)$`)

// fullest is what the fullest node's logs take, as a share of what they may.
func (c *cluster) fullest() (share float64, err error) {
	for i := range regionOf {
		from := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = c.net.within(i, func() error {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		}}}
		res, err := from.Get("http://127.0.0.1:8081/metrics")
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return 0, err
		}
		of := map[string]float64{}
		for _, m := range gauges.FindAllStringSubmatch(string(text), -1) {
			if of[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
				return 0, err
			}
		}
		if of["budget_bytes"] == 0 {
			return 0, fmt.Errorf("node %d does not say what its logs take", i)
		}
		share = max(share, of["bytes"]/of["budget_bytes"])
	}
	return share, nil
}
