package faults

import (
	"os"
	"regexp"
	"strconv"
)

var (
	openLine  = regexp.MustCompile(`(?m)msg=open session=(\S+) .* agent=(r\d+)\.(\d+) `)
	closeLine = regexp.MustCompile(`(?m)msg=close session=(\S+) .* dropped=(\d+) `)
)

// sitting is one connection of a client.
type sitting struct {
	who     string
	session int
}

// counted is what nodes counted as told to their clients, by their logs: of all
// sessions that a node saw end. A node that was killed wrote nothing of those that
// it had then.
func (c *cluster) counted() (map[sitting]uint64, error) {
	all := make(map[sitting]uint64)
	for _, p := range c.lives {
		b, err := os.ReadFile(p.log)
		if err != nil {
			return nil, err
		}
		of := make(map[string]sitting)
		for _, m := range openLine.FindAllStringSubmatch(string(b), -1) {
			n, err := strconv.Atoi(m[3])
			if err != nil {
				return nil, err
			}
			of[m[1]] = sitting{m[2], n}
		}
		here := make(map[sitting]uint64)
		for _, m := range closeLine.FindAllStringSubmatch(string(b), -1) {
			n, err := strconv.ParseUint(m[2], 10, 64)
			if err != nil {
				return nil, err
			}
			if s, ok := of[m[1]]; ok {
				here[s] += n
				delete(of, m[1])
			}
		}
		for _, open := range of { // a poller has many for one sitting
			delete(here, open)
		}
		for s, n := range here {
			all[s] += n
		}
	}
	return all, nil
}
