package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// docs/regions.md, as it is told: the script brings up three regions; what is
// published in one is replicated and read in another; a region is killed and its
// reader goes on elsewhere; the region comes back with all of it.
func TestRegionsPage(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("docs/three-regions.sh wants bash and kill")
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("docs/three-regions.sh wants bash")
	}
	w := &tour{t: t, dir: t.TempDir(), ports: freeBlock(t, 220)}
	w.links = w.ports + 200
	end := w.start()
	printed := w.sub("one", "two", "three", "four")
	w.post(4, "one")
	id := w.follow(3, "last=10", "", "one")
	w.post(4, "two")
	w.kill("eu n2")
	w.post(2, "three")
	id = w.follow(1, "", id, "two", "three")
	w.kill("us n1")
	w.post(1, "four")
	w.follow(2, "", id, "four")
	got := strings.Fields(strings.ReplaceAll(printed(), "rides.42 ", ""))
	slices.Sort(got)
	if fmt.Sprint(got) != "[four one three two]" {
		t.Errorf("chappe sub, whose relay was killed: %v", got)
	}
	for out := ""; strings.Count(out, "not heard") < 2; out = w.regions(1) { // the two nodes that were killed
		time.Sleep(50 * time.Millisecond)
	}
	end()
	defer w.start()()
	w.follow(2, "last=10", "", "one", "two", "three", "four")
}

// tour is a run of the script.
type tour struct {
	t            *testing.T
	dir          string
	ports, links int
	pids         map[string]int
}

// freeBlock finds a port after which n are free.
func freeBlock(t *testing.T, n int) int {
	t.Helper()
search:
	for base := 20_000 + os.Getpid()%8_000; base < 32_000; base += n {
		for i := range n {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if err != nil {
				continue search
			}
			ln.Close()
		}
		return base
	}
	t.Fatal("no free ports")
	return 0
}

func (w *tour) start() (end func()) {
	w.t.Helper()
	c := exec.Command("bash", "../../../docs/three-regions.sh", w.dir)
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PORTS="+strconv.Itoa(w.ports), "LINKS="+strconv.Itoa(w.links))
	out, err := c.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.pids = make(map[string]int)
	line := regexp.MustCompile(`^(\w+ \w+): .*pid (\d+)`)
	sc := bufio.NewScanner(out)
	for len(w.pids) < 4 && sc.Scan() {
		if m := line.FindStringSubmatch(sc.Text()); m != nil {
			w.pids[m[1]], _ = strconv.Atoi(m[2])
		}
	}
	if len(w.pids) < 4 {
		w.t.Fatalf("%d nodes", len(w.pids))
	}
	for n := 1; n <= 4; n++ {
		w.await(n)
	}
	return func() {
		c.Process.Signal(syscall.SIGTERM)
		io.Copy(io.Discard, out)
		c.Wait()
	}
}

// sub runs chappe sub with a list of relays, of which the first will be killed.
func (w *tour) sub(texts ...string) (printed func() string) {
	w.t.Helper()
	var out bytes.Buffer
	standing, line := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(w.t.Context(), []string{"chappe", "sub", "-url", w.url(3, "") + "," + w.url(2, "") + "," + w.url(1, ""), "-in-order", "-last", "10",
			"-count", strconv.Itoa(len(texts)), "rides.42"}, func(string) string { return "" }, nil, &out, line)
	}()
	bufio.NewReader(standing).ReadString('\n') // it is connected
	go io.Copy(io.Discard, standing)
	return func() string {
		<-done
		return out.String()
	}
}

// await returns when a node serves and hears all others.
func (w *tour) await(n int) {
	w.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("node %d does not hear the others:\n%s", n, w.regions(n))
		}
		if r, err := http.Get(w.url(n, "/v1/probe")); err == nil {
			r.Body.Close()
			if out := w.regions(n); r.StatusCode == 200 && strings.Count(out, " up ")+strings.Count(out, "this node") >= 4 && !strings.Contains(out, "not heard") {
				return
			}
		}
	}
}

func (w *tour) url(n int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", w.ports+n, path)
}

func (w *tour) post(n int, text string) {
	w.t.Helper()
	r, err := http.NewRequest("POST", w.url(n, "/v1/channels/rides.42/messages"), strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Chappe-Ack", "replicated")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
		w.t.Fatalf("publish: %s", b)
	}
}

// follow reads a stream until all texts have come, each once and nothing else.
// They are of different origins: no order is promised.
func (w *tour) follow(n int, query, lastID string, texts ...string) (id string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", w.url(n, "/v1/sse?channel=rides.42&"+query), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", lastID)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	data := regexp.MustCompile(`^data: \{"t":"msg".*"data":"(\w+)"`)
	for sc := bufio.NewScanner(res.Body); len(texts) > 0 && sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), "id: "); ok {
			id = v
		}
		if m := data.FindStringSubmatch(sc.Text()); m != nil {
			i := slices.Index(texts, m[1])
			if i < 0 {
				w.t.Fatalf("node %d: %s came, not one of %v", n, m[1], texts)
			}
			texts = slices.Delete(texts, i, i+1)
		}
	}
	if len(texts) > 0 {
		w.t.Fatalf("node %d: %v did not come", n, texts)
	}
	return id
}

func (w *tour) regions(n int) string {
	var out bytes.Buffer
	run(w.t.Context(), []string{"chappe", "regions", "-admin", fmt.Sprintf("http://127.0.0.1:%d", w.ports+100+n), "-token", "three-regions-on-one-laptop"},
		func(string) string { return "" }, nil, &out, io.Discard)
	return out.String()
}

func (w *tour) kill(node string) {
	w.t.Helper()
	p, err := os.FindProcess(w.pids[node])
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
