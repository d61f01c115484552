package abi

// Fault is a violation of the ABI: a frame that a guest cannot trust, or an
// answer that a host takes as a trap (ABI §6.1). Faults are constants, so that
// finding one costs nothing and they can be counted by kind.
type Fault string

func (f Fault) Error() string { return "abi: " + string(f) }

// Faults.
const (
	FaultTooBig   Fault = "the frame does not fit into the in-buffer"
	FaultFrame    Fault = "malformed frame"
	FaultGuest    Fault = "the guest answered error"
	FaultVerdict  Fault = "unknown verdict"
	FaultHook     Fault = "verdict not allowed for this hook"
	FaultFlags    Fault = "unknown flag"
	FaultCode     Fault = "code without a refusal"
	FaultLength   Fault = "output longer than the buffer"
	FaultOutput   Fault = "output not of the form of the verdict"
	FaultReason   Fault = "reason too long or not UTF-8"
	FaultTLV      Fault = "malformed TLV"
	FaultTLVType  Fault = "unknown TLV"
	FaultTLVPlace Fault = "TLV not allowed here"
	FaultTLVTwice Fault = "TLV more than once"
	FaultTLVNone  Fault = "required TLV missing"
	FaultFanOut   Fault = "too many fan-outs"
)
