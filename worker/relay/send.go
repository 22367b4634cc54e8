package relay

import (
	"context"
	"strings"

	"github.com/dustin/go-humanize"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// wakeOwn starts the payload's own lifecycle, or tells it to look again.
func (r *Relay) wakeOwn(ctx context.Context, p payload.Payload) error {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	options, in := r.lifecycle(p)
	_, err := r.client.SignalWithStartWorkflow(ctx, options.ID, string(contract.Wake), struct{}{}, options, string(contract.Lifecycle), in)
	return err
}

// wakeGroup does the same for a group's.
func (r *Relay) wakeGroup(ctx context.Context, group, namespace, host string) error {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	options := client.StartWorkflowOptions{
		ID:                    group,
		TaskQueue:             contract.TaskQueue,
		StaticSummary:         "payloads of " + namespace + " allocated on " + host,
		TypedSearchAttributes: temporal.NewSearchAttributes(namespaceKey.ValueSet(namespace), hostKey.ValueSet(host)),
	}
	in := contract.LifecycleInput{Target: contract.Target{Group: group, Host: host}, Namespace: namespace}
	_, err := r.client.SignalWithStartWorkflow(ctx, group, string(contract.Wake), struct{}{}, options, string(contract.GroupLifecycle), in)
	return err
}

var (
	namespaceKey = temporal.NewSearchAttributeKeyKeyword(contract.PayloadNamespace)
	hostKey      = temporal.NewSearchAttributeKeyKeyword(contract.PayloadHost)
	stateKey     = temporal.NewSearchAttributeKeyKeyword(contract.PayloadState)
	tierKey      = temporal.NewSearchAttributeKeyKeyword(contract.PayloadTier)
	bytesKey     = temporal.NewSearchAttributeKeyInt64(contract.PayloadBytes)
	expiresKey   = temporal.NewSearchAttributeKeyTime(contract.PayloadExpiresAt)
)

// lifecycle says how a payload's own lifecycle starts: with everything that
// people look for it by, so that it need not be set later.
func (r *Relay) lifecycle(p payload.Payload) (client.StartWorkflowOptions, contract.LifecycleInput) {
	host := home(p, r.host)
	attributes := []temporal.SearchAttributeUpdate{
		namespaceKey.ValueSet(p.Namespace), hostKey.ValueSet(host), stateKey.ValueSet(string(p.State)),
		bytesKey.ValueSet(p.Size),
	}
	if tier := contract.Fastest(contract.Ats(p.Placements)); tier != "" {
		attributes = append(attributes, tierKey.ValueSet(string(tier)))
	}
	if !p.ExpiresAt.IsZero() {
		attributes = append(attributes, expiresKey.ValueSet(p.ExpiresAt))
	}
	return client.StartWorkflowOptions{
			ID:                    contract.LifecycleID(p.Namespace, p.ID),
			TaskQueue:             contract.TaskQueue,
			StaticSummary:         summary(p),
			TypedSearchAttributes: temporal.NewSearchAttributes(attributes...),
		}, contract.LifecycleInput{
			Target: contract.Target{ID: p.ID, Host: host}, Namespace: p.Namespace, Name: p.Name, Size: p.Size,
		}
}

// summary is what the list of workflows shows: Markdown on one line.
func summary(p payload.Payload) string {
	name := p.Name
	if name == "" {
		name = "payload"
	}
	return markdown.Replace(name) + ", " + humanize.IBytes(uint64(p.Size))
}

// markdown keeps a user's text from being taken for markup.
var markdown = strings.NewReplacer("*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "<", `\<`, "#", `\#`, `\`, `\\`)
