package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, 0, "saturate"},
		{nil, 2, "name scenarios"},
		{[]string{"-n", "0", "all"}, 2, "-n 0"},
		{[]string{"-nonsense"}, 2, "nonsense"},
		{[]string{"fanuot"}, 2, `no scenario "fanuot"`},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%q: code %d, %q; want %d and %q", c.args, code, errs.String(), c.code, c.says)
		}
		if out.Len() > 0 {
			t.Errorf("%q: output %q", c.args, out.String())
		}
	}
}
