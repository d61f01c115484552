package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span, written as Go does, and with days: 90s, 2m, 1h30m, 7d.
type Duration time.Duration

// ParseDuration reads a duration.
func ParseDuration(text string) (Duration, error) {
	text = strings.TrimSpace(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil && n >= 0 && n <= 36500 {
			return Duration(n) * Duration(24*time.Hour), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		if _, bare := strconv.Atoi(text); bare == nil && !strings.HasPrefix(text, "-") {
			return 0, fmt.Errorf("want a duration with a unit such as %ss or %sm", text, text)
		}
		return 0, fmt.Errorf("want a duration such as 500ms, 20s or 2m, not %q", text)
	}
	return Duration(d), nil
}

// String writes 2m, not 2m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}
