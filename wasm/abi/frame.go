package abi

// Frame is a frame as its reader sees it. Check it once: the methods then cannot
// leave it.
type Frame []byte

// Check reports FaultFrame unless the header is one of this version, every
// reference lies within the frame, and so do records and messages.
func (f Frame) Check() error {
	if len(f) < HeaderLen || f.HeaderLen() < HeaderLen || f.HeaderLen() > len(f) || f[OffVersion] != Version || Hook(f[OffHook]) >= Hooks {
		return FaultFrame
	}
	for _, at := range refs {
		if !f.within(at) {
			return FaultFrame
		}
	}
	switch f.Hook() {
	case Deliver:
		n, size := f.Arg0(), f.Arg1()
		if n == 0 || n > MaxReaders || size < RecLen || uint64(f.HeaderLen())+uint64(n)*uint64(size) > uint64(len(f)) {
			return FaultFrame
		}
		for i := range int(n) {
			if !f.within(f.record(i) + RecExtOff) {
				return FaultFrame
			}
		}
	case PublishBatch:
		n := f.Arg0()
		table := uint64(f.HeaderLen()) + 4*uint64(n)
		if n == 0 || n > 0xffff || table > uint64(len(f)) {
			return FaultFrame
		}
		for i := range int(n) {
			at := le.Uint32(f[f.HeaderLen()+4*i:])
			if at%8 != 0 || uint64(at) < table || uint64(at) > uint64(len(f)) {
				return FaultFrame
			}
			if m := f[at:]; m.Check() != nil || m.Hook() != Publish {
				return FaultFrame
			}
		}
	}
	return nil
}

var refs = [...]int{OffChannel, OffClient, OffClaims, OffEvent, OffPayload, OffUser, OffKey, OffID}

func (f Frame) within(at int) bool {
	off, n := le.Uint32(f[at:]), le.Uint32(f[at+4:])
	return n == 0 || uint64(off)+uint64(n) <= uint64(len(f))
}

// Ref is the part that the reference at an offset of the header names, such as
// OffChannel. It is a view of the frame; nil if absent.
func (f Frame) Ref(at int) []byte {
	off, n := le.Uint32(f[at:]), le.Uint32(f[at+4:])
	if n == 0 {
		return nil
	}
	return f[off : off+n : off+n]
}

// HeaderLen is where records or messages begin.
func (f Frame) HeaderLen() int { return int(le.Uint16(f)) }

// Hook says whose frame it is.
func (f Frame) Hook() Hook { return Hook(f[OffHook]) }

// Flags of the frame: FlagBinary and so on.
func (f Frame) Flags() uint32 { return le.Uint32(f[OffFlags:]) }

// Tick is the message's stamp, in microseconds.
func (f Frame) Tick() uint64 { return le.Uint64(f[OffTick:]) }

// Now is in milliseconds since 1970.
func (f Frame) Now() uint64 { return le.Uint64(f[OffNow:]) }

// Arg0 is the hook's own: how many readers or messages, and others.
func (f Frame) Arg0() uint32 { return le.Uint32(f[OffArg0:]) }

// Arg1 is the hook's own: the size of a record.
func (f Frame) Arg1() uint32 { return le.Uint32(f[OffArg1:]) }

func (f Frame) record(i int) int { return f.HeaderLen() + i*int(f.Arg1()) }

// Reader is record i of a Deliver frame, and the hash of the reader's user.
func (f Frame) Reader(i int) (t Tags, user uint64) {
	b := f[f.record(i):]
	return Tags{le.Uint64(b[RecTags:]), le.Uint32(b[RecLevel:]), le.Uint32(b[RecGroup:]), f.Ref(f.record(i) + RecExtOff)}, le.Uint64(b[RecUser:])
}

// Message is message i of a PublishBatch frame: a Publish frame.
func (f Frame) Message(i int) Frame {
	return f[le.Uint32(f[f.HeaderLen()+4*i:]):]
}
