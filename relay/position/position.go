package position

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
)

// End is the tick of an origin that has ended: everything it ever said is done.
const End = ^uint64(0)

// Told reports whether a base is of an origin that nobody knew where the reader came,
// so that what it may have said since was told as lost. Ticks that are stamped are
// even: such a base is one more than the tick it stands for, and what comes of the
// origin after all is beyond it.
func Told(tick uint64) bool { return tick&1 == 1 && tick != End }

// Shards is how many shards the channels are divided into. A loss between
// nodes is noticed per shard, so a position's leads are per shard too.
const Shards = 256

// Shard returns the shard of a channel: FNV-1a over its first token, folded to
// eight bits. A pattern that fixes its first token lies in one shard.
func Shard(channel string) uint8 {
	first, _, _ := strings.Cut(channel, ".")
	h := uint32(2166136261)
	for i := range len(first) {
		h = (h ^ uint32(first[i])) * 16777619
	}
	return uint8(h) ^ uint8(h>>8) ^ uint8(h>>16) ^ uint8(h>>24)
}

// Base says of one origin: every message with a tick up to Tick was delivered,
// filtered, or told as lost.
type Base struct {
	Origin Origin
	Tick   uint64
	Seq    uint64 // last sequence number received, in the stream of one channel; 0: unknown
}

// Lead says the same of one shard of an origin, beyond its base.
type Lead struct {
	Origin Origin
	Shard  uint8
	Tick   uint64
}

// Position is how far a reader has come, in terms that every node of every
// region understands. The zero value has seen nothing and names nobody. It is
// a value: Clone before sharing. It only grows.
type Position struct {
	bases  []Base   // by origin
	leads  []Lead   // by origin, then shard; each beyond its base
	recent []Recent // in the order in which they came
}

// Empty reports whether p names no origin.
func (p *Position) Empty() bool { return len(p.bases) == 0 && len(p.leads) == 0 }

// Bases returns the bases in order of origin. The caller must not change them.
func (p *Position) Bases() []Base { return p.bases }

// Leads returns the leads in order of origin and shard. The caller must not change them.
func (p *Position) Leads() []Lead { return p.leads }

// Clone returns a copy that shares nothing with p.
func (p *Position) Clone() Position {
	return Position{bases: slices.Clone(p.bases), leads: slices.Clone(p.leads), recent: slices.Clone(p.recent)}
}

func (p *Position) base(o Origin) (int, bool) {
	return slices.BinarySearchFunc(p.bases, o, func(b Base, o Origin) int { return cmp.Compare(b.Origin, o) })
}

func (p *Position) lead(o Origin, shard uint8) (int, bool) {
	return slices.BinarySearchFunc(p.leads, Lead{Origin: o, Shard: shard}, func(a, b Lead) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Shard, b.Shard))
	})
}

// Base returns the base of an origin, and whether p names it.
func (p *Position) Base(o Origin) (tick uint64, named bool) {
	if i, ok := p.base(o); ok {
		return p.bases[i].Tick, true
	}
	return 0, false
}

// Done returns the tick up to which everything of an origin in a shard is done. Of
// an origin that p does not name, that is what was older than any history when p was
// at its newest tick: unnamed says how far that goes (nil: nothing is).
func (p *Position) Done(o Origin, shard uint8, unnamed func(newest uint64) uint64) uint64 {
	var done uint64
	if i, ok := p.base(o); ok {
		done = p.bases[i].Tick
	} else if unnamed != nil {
		done = unnamed(p.Newest())
	}
	if i, ok := p.lead(o, shard); ok {
		done = max(done, p.leads[i].Tick)
	}
	return done
}

// Newest returns the largest tick in p. End is no time and does not count.
func (p *Position) Newest() uint64 {
	var newest uint64
	for _, b := range p.bases {
		if b.Tick != End {
			newest = max(newest, b.Tick)
		}
	}
	for _, l := range p.leads {
		if l.Tick != End {
			newest = max(newest, l.Tick)
		}
	}
	return newest
}

// Raise lifts the base of an origin to tick and drops the leads it covers.
func (p *Position) Raise(o Origin, tick uint64) {
	i, ok := p.base(o)
	switch {
	case !ok:
		p.bases = slices.Insert(p.bases, i, Base{Origin: o, Tick: tick})
	case p.bases[i].Tick >= tick:
		return
	default:
		p.bases[i].Tick = tick
	}
	if len(p.leads) > 0 {
		p.leads = slices.DeleteFunc(p.leads, func(l Lead) bool { return l.Origin == o && l.Tick <= tick })
	}
}

// Count notes the sequence number of the last message received of an origin
// that p names. It is for the stream of a single channel: a later loss can then
// be told in numbers.
func (p *Position) Count(o Origin, seq uint64) {
	if i, ok := p.base(o); ok {
		p.bases[i].Seq = seq
	}
}

// Uncount forgets sequence numbers: p is to be used for more than one channel.
func (p *Position) Uncount() {
	for i := range p.bases {
		p.bases[i].Seq = 0
	}
}

// Advance lifts one shard of an origin to tick.
func (p *Position) Advance(o Origin, shard uint8, tick uint64) {
	if b, ok := p.Base(o); ok && b >= tick {
		return
	}
	i, ok := p.lead(o, shard)
	switch {
	case !ok:
		p.leads = slices.Insert(p.leads, i, Lead{o, shard, tick})
	case p.leads[i].Tick < tick:
		p.leads[i].Tick = tick
	}
}

// Merge lifts p to everything that q has done.
func (p *Position) Merge(q *Position) {
	for _, b := range q.bases {
		p.Raise(b.Origin, b.Tick)
		if b.Seq != 0 {
			p.Count(b.Origin, b.Seq)
		}
	}
	for _, l := range q.leads {
		p.Advance(l.Origin, l.Shard, l.Tick)
	}
}

// Forget drops an origin. Only an origin that ended longer than a window ago
// may be dropped: being unnamed then means the same.
func (p *Position) Forget(o Origin) {
	p.bases = slices.DeleteFunc(p.bases, func(b Base) bool { return b.Origin == o })
	p.leads = slices.DeleteFunc(p.leads, func(l Lead) bool { return l.Origin == o })
}

// Limits of the text form: what no honest position reaches.
const (
	maxBases  = 512
	maxLeads  = 4096
	MaxCursor = 48 << 10 // bytes of a cursor's text

	version     = 1 // the versions are this and the sum of what is in it
	counted     = 1 // every base has a sequence number
	recents     = 2 // there are recent publications
	lastVersion = version + counted + recents
)

// ErrCursor says that a text is not a cursor.
var ErrCursor = errors.New("not a cursor")

// Append appends the cursor of p: base64url, no padding, of
//
//	u8 version | uvarint newest | uvarint n | n × (8B origin | uvarint age [| uvarint seq])
//	  | uvarint m | m × (uvarint index of origin in the list above | u8 shard | uvarint age)
//	  [| uvarint k | k × (6B publication | uvarint age)] | 2B check
//
// seq is there in versions 2 and 4, publications in 3 and 4. age is newest-tick+1,
// or 0 for End. The check is the low half of the CRC-32 (IEEE) of all before it: a
// cursor that was cut or mistyped is refused, and never taken for a place. An
// origin with leads and no base is listed with base 0 (age newest+1).
func (p *Position) Append(dst []byte) []byte {
	start := len(dst)
	dst = p.appendRaw(dst) // encoded behind itself and moved down: no scratch buffer escapes
	raw := len(dst) - start
	text := base64.RawURLEncoding.EncodedLen(raw)
	dst = slices.Grow(dst, text)[:start+raw+text]
	base64.RawURLEncoding.Encode(dst[start+raw:], dst[start:start+raw])
	copy(dst[start:], dst[start+raw:])
	return dst[:start+text]
}

func (p *Position) appendRaw(raw []byte) []byte {
	start, newest := len(raw), p.Newest()
	age := func(tick uint64) uint64 {
		if tick == End {
			return 0
		}
		return newest - tick + 1
	}
	with := byte(0)
	if slices.ContainsFunc(p.bases, func(b Base) bool { return b.Seq != 0 }) {
		with += counted
	}
	if len(p.recent) > 0 {
		with += recents
	}
	raw = append(raw, version+with)
	raw = binary.AppendUvarint(raw, newest)
	bases := p.bases
	for _, l := range p.leads { // rare: a lead of an origin that has no base yet
		if _, ok := p.base(l.Origin); !ok {
			q := p.Clone()
			for _, l := range p.leads {
				if _, ok := q.base(l.Origin); !ok {
					q.Raise(l.Origin, 0)
				}
			}
			bases = q.bases
			break
		}
	}
	raw = binary.AppendUvarint(raw, uint64(len(bases)))
	for _, b := range bases {
		raw = binary.BigEndian.AppendUint64(raw, uint64(b.Origin))
		raw = binary.AppendUvarint(raw, age(b.Tick))
		if with&counted != 0 {
			raw = binary.AppendUvarint(raw, b.Seq)
		}
	}
	raw = binary.AppendUvarint(raw, uint64(len(p.leads)))
	at := 0
	for _, l := range p.leads {
		for bases[at].Origin != l.Origin {
			at++
		}
		raw = binary.AppendUvarint(raw, uint64(at))
		raw = append(raw, l.Shard)
		raw = binary.AppendUvarint(raw, age(l.Tick))
	}
	if with&recents != 0 {
		newestOf := p.recent[max(0, len(p.recent)-MaxRecent):]
		raw = binary.AppendUvarint(raw, uint64(len(newestOf)))
		for _, r := range newestOf {
			raw = append(raw, byte(r.Publication>>40), byte(r.Publication>>32), byte(r.Publication>>24), byte(r.Publication>>16), byte(r.Publication>>8), byte(r.Publication))
			raw = binary.AppendUvarint(raw, age(min(r.Tick, newest)))
		}
	}
	return binary.BigEndian.AppendUint16(raw, uint16(crc32.ChecksumIEEE(raw[start:])))
}

// Cursor returns the text form of p. See Append.
func (p *Position) Cursor() string {
	var stack [256]byte
	return string(p.Append(stack[:0]))
}

// Parse reads a cursor.
func Parse(cursor string) (Position, error) {
	var p Position
	if len(cursor) > MaxCursor {
		return p, ErrCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 4 || raw[0] < version || raw[0] > lastVersion {
		return p, ErrCursor
	}
	body, check := raw[:len(raw)-2], binary.BigEndian.Uint16(raw[len(raw)-2:])
	if uint16(crc32.ChecksumIEEE(body)) != check {
		return p, ErrCursor
	}
	d, with := decoder{b: body[1:]}, raw[0]-version
	newest := d.uvarint()
	tick := func() uint64 {
		age := d.uvarint()
		if age == 0 {
			return End
		}
		if age-1 > newest {
			d.bad = true
			return 0
		}
		return newest - (age - 1)
	}
	n := d.uvarint()
	if n > maxBases || n > uint64(len(d.b)) {
		return p, ErrCursor
	}
	p.bases = make([]Base, 0, n)
	for range n {
		b := Base{Origin: d.origin()}
		b.Tick = tick()
		if with&counted != 0 {
			b.Seq = d.uvarint()
		}
		if k := len(p.bases); k > 0 && p.bases[k-1].Origin >= b.Origin {
			return Position{}, ErrCursor
		}
		p.bases = append(p.bases, b)
	}
	m := d.uvarint()
	if m > maxLeads || m > uint64(len(d.b)) {
		return Position{}, ErrCursor
	}
	for range m {
		i, shard := d.uvarint(), d.byte()
		t := tick()
		if d.bad || i >= n {
			return Position{}, ErrCursor
		}
		l := Lead{p.bases[i].Origin, shard, t}
		if k, found := p.lead(l.Origin, l.Shard); found || k != len(p.leads) {
			return Position{}, ErrCursor
		}
		p.leads = append(p.leads, l)
	}
	if with&recents != 0 {
		k := d.uvarint()
		if k > MaxRecent {
			return Position{}, ErrCursor
		}
		for range k {
			r := Recent{Publication: uint64(d.byte())<<40 | uint64(d.byte())<<32 | uint64(d.byte())<<24 | uint64(d.byte())<<16 | uint64(d.byte())<<8 | uint64(d.byte())}
			r.Tick = tick()
			p.recent = append(p.recent, r)
		}
	}
	if d.bad || len(d.b) > 0 {
		return Position{}, ErrCursor
	}
	return p, nil
}

// decoder reads fields until one is missing.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) origin() Origin {
	if len(d.b) < 8 {
		d.bad, d.b = true, nil
		return 0
	}
	o := Origin(binary.BigEndian.Uint64(d.b))
	d.b = d.b[8:]
	return o
}

func (d *decoder) byte() uint8 {
	if len(d.b) < 1 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}
