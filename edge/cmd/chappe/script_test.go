package main

import (
	"bufio"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run this very program as "chappe".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"chappe": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// The race detector would make each of our many short processes wait 1 s at its end.
			e.Vars = append(e.Vars, "NO_PROXY=*", "GORACE=atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node": begin, "end": stop, "fetch": fetch, "cursor": cursor, "lines": lines, "await": await, "clear": clearURL,
			"hangup": hangup, "flip": flip, "await-line": awaitLine,
		},
		RequireExplicitExec: true,
	})
}

// running is a node in the background, by script.
type running struct {
	cmd  *exec.Cmd
	done chan error
}

var (
	address = regexp.MustCompile(`client=(\S+) admin=(\S+)`)
	urls    = regexp.MustCompile(`https?://[^/\s"]+`)
	comment = regexp.MustCompile(`(?m)^#.*$`)
)

// node [-NAME] dev|serve ARGS... starts a node and waits until its ports are
// open: $NAMEURL and $NAMEADMIN are its URLs then, and its output is in the
// files NAMEnode.out and NAMEnode.err.
func begin(ts *testscript.TestScript, neg bool, args []string) {
	name := ""
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name, args = args[0][1:], args[1:]
	}
	path, err := exec.LookPath("chappe") // testscript.Main has put it on PATH
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, v := range []string{"PATH", "HOME", "CHAPPE_DEV_SECRET", "CHAPPE_REGION", "CHAPPE_DRAIN_DEADLINE", "SYSTEMROOT"} {
		if x := ts.Getenv(v); x != "" {
			cmd.Env = append(cmd.Env, v+"="+x)
		}
	}
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	r := &running{cmd: cmd, done: make(chan error, 1)}
	ready := make(chan [2]string, 2)
	copied := make(chan struct{}, 2)
	tee := func(from io.Reader, file string, look func(line string, seen string) ([2]string, bool)) {
		f, err := os.Create(ts.MkAbs(name + file))
		if err != nil {
			ts.Logf("%v", err)
		}
		var seen strings.Builder
		s := bufio.NewScanner(from)
		for s.Scan() {
			io.WriteString(f, s.Text()+"\n")
			seen.WriteString(s.Text() + "\n")
			if at, ok := look(s.Text(), seen.String()); ok {
				ready <- at
			}
		}
		f.Close()
		copied <- struct{}{}
	}
	go tee(stdout, "node.out", func(line, seen string) (at [2]string, ok bool) { // dev
		all := urls.FindAllString(comment.ReplaceAllString(seen, ""), -1)
		if strings.HasSuffix(line, "/metrics") {
			return [2]string{all[0], all[len(all)-1]}, true
		}
		return at, false
	})
	go tee(stderr, "node.err", func(line, _ string) (at [2]string, ok bool) { // serve
		if m := address.FindStringSubmatch(line); m != nil && strings.Contains(line, "msg=serving") {
			return [2]string{"http://" + m[1], "http://" + m[2]}, true
		}
		return at, false
	})
	go func() {
		<-copied
		<-copied
		r.done <- cmd.Wait()
	}()
	nodes(ts)[name] = r
	ts.Defer(func() { cmd.Process.Kill() })
	select {
	case at := <-ready:
		ts.Setenv(name+"URL", at[0])
		ts.Setenv(name+"ADMIN", at[1])
		ts.Setenv(name+"ADDR", strings.TrimPrefix(strings.TrimPrefix(at[0], "https://"), "http://"))
	case err := <-r.done:
		b, _ := os.ReadFile(ts.MkAbs(name + "node.err"))
		ts.Fatalf("the node ended: %v: %s", err, b)
	case <-time.After(30 * time.Second):
		ts.Fatalf("the node did not open its ports")
	}
}

var allNodes = make(chan map[string]map[string]*running, 1)

func init() { allNodes <- make(map[string]map[string]*running) }

// nodes are those of a script; scripts run in parallel, each in its own directory.
func nodes(ts *testscript.TestScript) map[string]*running {
	all := <-allNodes
	defer func() { allNodes <- all }()
	dir := ts.MkAbs(".")
	if all[dir] == nil {
		all[dir] = make(map[string]*running)
	}
	return all[dir]
}

// stop [-NAME] sends SIGINT and waits; the node must end with 0.
func stop(ts *testscript.TestScript, neg bool, args []string) {
	name := ""
	if len(args) > 0 {
		name = args[0][1:]
	}
	r := nodes(ts)[name]
	if r == nil {
		ts.Fatalf("no node %q", name)
	}
	ts.Check(r.cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-r.done:
		ts.Check(err)
	case <-time.After(30 * time.Second):
		ts.Fatalf("the node does not end")
	}
}

// hangup sends SIGHUP to the node that has no name.
func hangup(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(nodes(ts)[""].cmd.Process.Signal(syscall.SIGHUP))
}

// flip DIR changes a bit in the first part of the largest file of messages.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	var file string
	var size int64
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".blk" {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			file, size = path, info.Size()
		}
		return err
	}))
	b, err := os.ReadFile(file)
	ts.Check(err)
	b[len(b)/4] ^= 1
	ts.Check(os.WriteFile(file, b, 0o600))
}

// await-line FILE PATTERN waits for a line of a node's output.
func awaitLine(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(args[1])
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if want.MatchString(ts.ReadFile(args[0])) {
			return
		}
	}
	ts.Fatalf("%s never said %s:\n%s", args[0], args[1], ts.ReadFile(args[0]))
}

// fetch STATUS FILE METHOD URL [HEADER] makes a request and keeps the body.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: fetch STATUS FILE METHOD URL [HEADER]")
	}
	r, err := http.NewRequest(args[2], args[3], nil)
	ts.Check(err)
	for _, h := range args[4:] {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Set(k, v)
	}
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Do(r)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o600))
	if !strings.HasPrefix(res.Status, args[0]) {
		ts.Fatalf("%s %s: %s, want %s: %s", args[2], args[3], res.Status, args[0], body)
	}
}

// await URL PATTERN asks until the answer matches.
func await(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(args[1])
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		res, err := http.Get(args[0])
		ts.Check(err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		ts.Check(err)
		if want.Match(body) {
			return
		}
	}
	ts.Fatalf("%s never said %s", args[0], args[1])
}

// cursor NAME takes the cursor out of the last command's stderr.
func cursor(ts *testscript.TestScript, neg bool, args []string) {
	_, at, ok := strings.Cut(ts.ReadFile("stderr"), "continue with -cursor ")
	if !ok {
		ts.Fatalf("no cursor in stderr")
	}
	ts.Setenv(args[0], strings.TrimSpace(at))
}

// clear NAME takes the URL in the clear out of what dev -tls printed.
func clearURL(ts *testscript.TestScript, neg bool, args []string) {
	_, at, ok := strings.Cut(ts.ReadFile("node.out"), "# In a browser, as it is: ")
	if !ok {
		ts.Fatalf("no URL in the clear")
	}
	at, _, _ = strings.Cut(at, "/\n")
	ts.Setenv(args[0], at)
}

// lines FILE xxx checks that a file has as many lines as there are x.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	if got := strings.Count(text, "\n"); got != len(args[1]) {
		ts.Fatalf("%s has %d lines, want %d:\n%s", args[0], got, len(args[1]), text)
	}
}

func TestPasteable(t *testing.T) {
	a := func(s string) net.Addr {
		t.Helper()
		addr, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return addr
	}
	got := pasteable("chappe", a("127.0.0.1:8080"), a("[::]:9"), false)
	want := `curl -N "http://127.0.0.1:8080/v1/sse?channel=rides.42"
curl -d hello http://127.0.0.1:8080/v1/channels/rides.42/messages
chappe sub rides.42
curl http://127.0.0.1:9/metrics
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := pasteable("chappe", a("[::1]:7"), a("127.0.0.1:9"), false); !strings.Contains(got, "chappe sub -url http://[::1]:7 rides.42\n") {
		t.Errorf("%s", got)
	}
}

func TestProgram(t *testing.T) {
	for name, want := range map[string]string{
		"chappe": "chappe", "./chappe": "./chappe", "/opt/my tools/chappe": `"/opt/my tools/chappe"`,
		filepath.Join(os.TempDir(), "go-build123", "b001", "exe", "chappe"): "go run ./edge/cmd/chappe",
		"/root/.cache/go-build/ab/abcdef-d/chappe":                          "go run ./edge/cmd/chappe",
	} {
		if got := (&env{name: name}).program(); got != want {
			t.Errorf("%s is called as %s; want %s", name, got, want)
		}
	}
}
