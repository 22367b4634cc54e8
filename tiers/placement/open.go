package placement

import (
	"context"
	"os"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Opened is what the data door passes to a client. Whoever gets it closes it.
type Opened struct {
	File     *os.File
	Offset   int64 // where in the file the payload begins
	Size     int64 // bytes
	Writable bool

	closed func() // may be nil
}

// Close closes this process's copy of the file. It is called once.
func (o Opened) Close() error {
	err := o.File.Close()
	if o.closed != nil {
		o.closed()
	}
	return err
}

// OpenToken trades a write token for a writable file, while its allocation is
// not committed, or a lease token for a read-only one, while its lease lives.
// Codes: Denied, NotFound, Expired, Conflict, Unsupported for a tier that is
// not reached by file.
func (h *Host) OpenToken(ctx context.Context, token payload.Token) (Opened, error) {
	opened, err := h.openToken(ctx, token)
	return opened, payload.Wrap("open", payload.ID{}, err)
}

func (h *Host) openToken(ctx context.Context, token payload.Token) (Opened, error) {
	kind, body, err := h.signer.open(token)
	switch {
	case err != nil:
		return Opened{}, err
	case kind == readKind:
		return h.openLease(ctx, string(body))
	case kind == writeKind:
		return h.openAllocation(ctx, body)
	}
	return Opened{}, errForged
}

func (h *Host) openLease(ctx context.Context, lease string) (Opened, error) {
	grant, err := h.leases.Lookup(lease)
	if err != nil {
		return Opened{}, err
	}
	p, _ := h.records.get(grant.Key.ID)
	at, found := p.At(grant.Key.Tier, h.name)
	if !found || at.Attempt != grant.Key.Attempt {
		return Opened{}, payload.Errorf(payload.Lost, "the leased bytes went with the process or the host that kept them: acquire again for another copy")
	}
	filer, err := h.filer(at.Tier)
	if err != nil {
		return Opened{}, err
	}
	file, err := filer.Readable(ctx, at.Location)
	return Opened{File: file, Size: p.Size}, err
}

func (h *Host) openAllocation(ctx context.Context, body []byte) (Opened, error) {
	id, attempt, err := allocation(body)
	if err != nil {
		return Opened{}, err
	}
	p, err := h.look(ctx, "", id)
	if err != nil {
		return Opened{}, err
	}
	at, found := p.At(p.Policy.Tier, h.name)
	if p.State != payload.StateAllocated || !found || at.Attempt != attempt {
		return Opened{}, catalog.Refuse(p.State)
	}
	filer, err := h.filer(at.Tier)
	if err != nil {
		return Opened{}, err
	}
	h.passing.begin(id)
	file, err := filer.Writable(ctx, at.Location)
	if err != nil {
		h.passing.end(id)
		return Opened{}, err
	}
	return Opened{File: file, Size: p.Size, Writable: true, closed: func() { h.passing.end(id) }}, nil
}

func (h *Host) filer(name payload.Tier) (tiers.Filer, error) {
	tier, err := h.tiers.Tier(name)
	if err != nil {
		return nil, err
	}
	if filer, ok := tier.(tiers.Filer); ok {
		return filer, nil
	}
	return nil, payload.Errorf(payload.Unsupported, "tier %s is not reached through the data door", name)
}
