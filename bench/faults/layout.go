package faults

import "fmt"

// Load is how many clients there are and how much is published.
type Load struct {
	Readers int  // of all regions together
	Wide    int  // further readers, of a fifth of all channels each
	Fanout  int  // readers of one channel, the wide ones apart
	Rate    int  // messages per second
	Pad     int  // further bytes of each message
	Crowd   bool // all are at the first node, and know one other
	Members int  // further clients, whose presence is watched
}

// group is how many channels share their first token, and so their shard.
const group = 5

// place is what a reader follows: a channel, or a pattern and all that it matches.
type place struct {
	name     string
	channels []string
}

// layout names the channels, and gives each reader a place. A quarter of what a
// channel's readers are follows a pattern of its group.
func layout(l Load) (channels []string, places []place) {
	wild := l.Fanout / 4
	size := group*(l.Fanout-wild) + wild
	var zeroth []string
	for g := range (l.Readers + size - 1) / size {
		var of []string
		for i := range group {
			of = append(of, fmt.Sprintf("g%d.c%d", g, i))
		}
		channels = append(channels, of...)
		zeroth = append(zeroth, of[0])
		for i := range min(size, l.Readers-g*size) {
			if i < wild {
				places = append(places, place{fmt.Sprintf("g%d.*", g), of})
			} else {
				places = append(places, place{of[i%group], of[i%group : i%group+1]})
			}
		}
	}
	for range l.Wide {
		places = append(places, place{"*.c0", zeroth})
	}
	return channels, places
}
