package nearest

import "testing"

func TestOf(t *testing.T) {
	words := []string{"listen", "public_url", "origins", "trusted_proxies", "dev", "serve", "sub", "pub"}
	for _, c := range []struct {
		word, want string
		ok         bool
	}{
		{"lsiten", "listen", true},
		{"publicurl", "public_url", true},
		{"trusted_proxy", "trusted_proxies", true},
		{"server", "serve", true},
		{"subs", "sub", true},
		{"dve", "dev", true},
		{"origin", "origins", true},
		{"weather", "", false},
		{"x", "", false},
		{"", "", false},
	} {
		got, ok := Of(c.word, words)
		if got != c.want || ok != c.ok {
			t.Errorf("Of(%q) = %q, %v; want %q, %v", c.word, got, ok, c.want, c.ok)
		}
	}
	if _, ok := Of("a", nil); ok {
		t.Error("found a word among none")
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d; want %d", c.a, c.b, got, c.want)
		}
		if distance(c.a, c.b) != distance(c.b, c.a) {
			t.Errorf("distance(%q, %q) is not symmetric", c.a, c.b)
		}
	}
}
