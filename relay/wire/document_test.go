package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func document(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The document has a row for every code, with its anchor (error bodies link to
// it) and its status; and no row for a code that does not exist.
func TestDocumentHasEveryCode(t *testing.T) {
	doc := document(t)
	rows := regexp.MustCompile("(?m)^\\| <a id=\"([a-z0-9_]+)\"></a>`([a-z0-9_]+)` \\|[^|]+\\| ([0-9]{3}) \\|").FindAllStringSubmatch(doc, -1)
	told := map[string]string{}
	for _, row := range rows {
		if row[1] != row[2] {
			t.Errorf("anchor %s stands at code %s", row[1], row[2])
		}
		told[row[1]] = row[3]
	}
	all := codes(t, "code.go", "Code")
	for _, quoted := range all {
		name, _ := strconv.Unquote(quoted)
		if want := fmt.Sprint(Code(name).Status()); told[name] != want {
			t.Errorf("code %s has status %s, the document says %q", name, want, told[name])
		}
	}
	if len(told) != len(all) {
		t.Errorf("%d codes, %d rows", len(all), len(told))
	}
	for _, number := range codes(t, "code.go", "CloseCode") {
		if !strings.Contains(doc, "\n| "+number+" |") {
			t.Errorf("close code %s has no row", number)
		}
	}
	if !strings.Contains(doc, `<a id="codes"></a>`) {
		t.Error("no anchor #codes")
	}
}

// The worked examples of §5.2 are what the code does.
func TestDocumentExamples(t *testing.T) {
	examples := regexp.MustCompile("(?m)^```\n(\\{\"t\".*)\n((?:[0-9a-f]{2} ?)+)\n").FindAllStringSubmatch(document(t), -1)
	if len(examples) != 3 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, e := range examples {
		raw, err := hex.DecodeString(strings.ReplaceAll(e[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, side := range []Side{FromClient, FromServer} {
			f, err := DecodeJSON([]byte(e[1]), side)
			if err != nil {
				continue
			}
			if got := AppendBinary(nil, f[0]); !bytes.Equal(got, raw) {
				t.Errorf("%s is % x", e[1], got)
			}
			if got := string(AppendJSON(nil, f[0])); got != e[1] {
				t.Errorf("%s is written %s", e[1], got)
			}
			raw = nil
		}
		if raw != nil {
			t.Errorf("%s is no frame", e[1])
		}
	}
}

// Every frame of both sides stands in the tables of §4.1 and §5.2.
func TestDocumentHasEveryFrame(t *testing.T) {
	doc := document(t)
	for file, cases := range loadVectors(t) {
		for _, v := range cases {
			if v.DecodeOnly || v.Error != "" {
				continue
			}
			name := strings.SplitN(*v.JSON, `"`, 5)[3]
			if !strings.Contains(doc, "| `"+name+"` |") || !strings.Contains(doc, "| 0x"+(*v.Binary)[:2]+" | "+name+" |") {
				t.Errorf("%s: frame %s has no row", file, name)
			}
		}
	}
}
