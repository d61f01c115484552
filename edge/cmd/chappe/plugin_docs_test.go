package main

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/wasm/templates"
)

const pluginPage = "../../../docs/plugins.md"

// fence is a block of commands that docs/plugins.md marks as one to run:
// <!-- run: go --> for a language's part, or <!-- run: go node --> if it needs a
// relay. What it prints, if the page says so, stands behind it.
type fence struct {
	part     string
	node     bool
	commands string
	prints   string
}

func fences(t *testing.T) (all []fence) {
	t.Helper()
	page, err := os.ReadFile(pluginPage)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile("(?s)<!-- run: ([a-z]+)( node)? -->\n```sh\n(.*?)```\n(?:\nIt prints\n\n```\n(.*?)```\n)?")
	for _, m := range form.FindAllStringSubmatch(string(page), -1) {
		all = append(all, fence{m[1], m[2] != "", m[3], m[4]})
	}
	if n := strings.Count(string(page), "<!-- run:"); n != len(all) || n == 0 {
		t.Fatalf("%d blocks to run and %d that can be read", n, len(all))
	}
	return all
}

// TestPluginPage runs the commands of docs/plugins.md as they stand there, part by
// part, where the toolchain is.
func TestPluginPage(t *testing.T) {
	plain(t)
	parts := make(map[string][]fence)
	var order []string
	for _, f := range fences(t) {
		if parts[f.part] == nil {
			order = append(order, f.part)
		}
		parts[f.part] = append(parts[f.part], f)
	}
	for _, part := range order {
		t.Run(part, func(t *testing.T) {
			needs(t, part)
			dir := t.TempDir()
			for _, f := range parts[part] {
				if !f.node {
					dir = f.run(t, dir, nil)
					continue
				}
				t.Run("node", func(t *testing.T) {
					f.run(t, dir, devNode(t))
				})
			}
		})
	}
}

// plain puts a program without the race detector on PATH: with it a module in Go
// takes ten times as long to compile, and the page compiles one three times.
func plain(t *testing.T) {
	t.Helper()
	if !racing {
		return
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "chappe"), ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// TestPluginPageShowsTheTemplates: the code on the page is that of the templates.
func TestPluginPageShowsTheTemplates(t *testing.T) {
	page, err := os.ReadFile(pluginPage)
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile("(?s)<!-- template: ([a-z]+) (\\S+) -->\n```[a-z]+\n(.*?)```\n").FindAllStringSubmatch(string(page), -1)
	if n := strings.Count(string(page), "<!-- template:"); n != len(all) || n == 0 {
		t.Fatalf("%d pieces of templates and %d that can be read", n, len(all))
	}
	for _, m := range all {
		files, err := templates.Files(m[1], "nodebug")
		if err != nil {
			t.Errorf("%s: %v", m[1], err)
		} else if !strings.Contains(string(files[m[2]]), m[3]) {
			t.Errorf("%s of the template for %s does not hold what the page shows", m[2], m[1])
		}
	}
}

// needs skips a part whose toolchain is not here.
func needs(t *testing.T, part string) {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("the page's commands are for a POSIX shell")
	}
	switch part {
	case "go":
		if testing.Short() {
			t.Skip("builds Go's standard library for WebAssembly")
		}
	case "rust":
		lib, err := exec.Command("rustc", "--print", "target-libdir", "--target", rustTarget).Output()
		if err != nil {
			t.Skip("there is no Rust here")
		}
		if _, err := os.Stat(strings.TrimSpace(string(lib))); err != nil {
			t.Skip("Rust has no library for " + rustTarget + " here")
		}
	case "assemblyscript":
		if _, err := exec.LookPath("npm"); err != nil {
			t.Skip("there is no npm here")
		}
		files, err := templates.Files(part, "probe")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "package.json"), files["package.json"], 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("npm", "install", "--silent", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000")
		if cmd.Dir = dir; cmd.Run() != nil {
			t.Skip("npm cannot install AssemblyScript here")
		}
	}
}

// run runs a block's commands and returns where they end up.
func (f fence) run(t *testing.T, dir string, env []string) string {
	t.Helper()
	var out bytes.Buffer
	end := filepath.Join(t.TempDir(), "pwd")
	cmd := exec.Command("sh", "-e", "-c", f.commands+"pwd > '"+end+"'")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), env...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v:\n%s\n%s", err, f.commands, &out)
	}
	if want := pattern(f.prints); !want.MatchString(out.String()) {
		t.Errorf("prints\n%s\nand the page says\n%s", &out, f.prints)
	}
	at, err := os.ReadFile(end)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(at))
}

// pattern is what the page says is printed: … is any text on a line, and alone on
// one any lines.
func pattern(prints string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?m)")
	for line := range strings.Lines(prints) {
		if line == "…\n" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		b.WriteString("^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSuffix(line, "\n")), "…", ".*") + `\n`)
	}
	return regexp.MustCompile(b.String())
}

// devNode starts chappe dev on free ports and returns the environment by which the
// other commands find it.
func devNode(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("chappe", "dev", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("chappe dev: %v", err)
		}
	})
	var seen strings.Builder
	s := bufio.NewScanner(stdout)
	for s.Scan() && !strings.HasSuffix(s.Text(), "/metrics") {
		seen.WriteString(s.Text() + "\n")
	}
	seen.WriteString(s.Text())
	all := urls.FindAllString(seen.String(), -1)
	if len(all) < 2 {
		t.Fatalf("chappe dev said\n%s", &seen)
	}
	admin := all[len(all)-1]
	res, err := http.Get(admin + "/v1/plugins")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		t.Fatal("chappe dev has no plugin API")
	}
	return []string{"CHAPPE_URL=" + all[0], "CHAPPE_ADMIN_URL=" + admin}
}

// TestPluginPageNames: every rule and metric is on the page, and no other.
func TestPluginPageNames(t *testing.T) {
	text, err := os.ReadFile(pluginPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	source, err := os.ReadFile("../../../plugins/instrument/refusal.go")
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^\tRule\w+ += "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(rules) < 20 {
		t.Fatalf("found %d rules", len(rules))
	}
	for _, r := range rules {
		if !strings.Contains(page, "`"+r[1]+"`") {
			t.Errorf("rule %s is not on the page", r[1])
		}
	}
	descs := make(chan *prometheus.Desc, 100)
	(*plugins.Host)(nil).Collector().Describe(descs)
	close(descs)
	known := make(map[string]bool)
	for d := range descs {
		name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]
		known[name] = true
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("metric %s is not on the page", name)
		}
	}
	for _, m := range regexp.MustCompile("`(chappe_plugin_\\w+)`").FindAllStringSubmatch(page, -1) {
		if !known[m[1]] {
			t.Errorf("the page has a metric %s, which there is not", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^chappe (plugin [a-z]+)`).FindAllStringSubmatch(page, -1) {
		if _, _, err := find(strings.Fields(m[1])); err != nil {
			t.Errorf("the page has %s: %v", m[0], err)
		}
	}
	for _, c := range pluginCommands() {
		if _, word, _ := strings.Cut(c.name, " "); !strings.Contains(page, "`"+word) && !strings.Contains(page, "`chappe "+c.name) {
			t.Errorf("chappe %s is not on the page", c.name)
		}
	}
}
