// Package contract holds the names under which Payload Manager's workflows,
// activities and messages are registered with Temporal, each carrying the types
// of what goes in and what comes out.
//
// It exists because workflows decide and activities do, and neither may import
// the other: both compile against these names, and so does any pipeline that
// calls them. Everything here travels as JSON and stays in workflow histories,
// so it holds ids, sizes and versions, never paths, handles, URLs, tokens or
// bytes. It imports no Temporal package.
package contract

import (
	"strings"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Workflow is a workflow type's name with its input and its result.
type Workflow[In, Out any] string

// An Activity is an activity type's name with its input and its result.
type Activity[In, Out any] string

// An Update is an update's name with its argument and its answer.
type Update[In, Out any] string

// A Signal is a signal's name with its argument.
type Signal[In any] string

// A Query is a query's name with its answer.
type Query[Out any] string

// TaskQueue is where workflows run, and activities that any host can do.
const TaskQueue = "payload-manager"

// HostQueue is where activities run that touch the bytes of one host.
func HostQueue(host string) string { return TaskQueue + "@" + host }

// LifecycleID is the workflow id of a payload's own lifecycle. Colons, because
// the Temporal UI shows a slash as %2F.
func LifecycleID(namespace string, id payload.ID) string {
	return "payload:" + namespace + ":" + id.String()
}

// GroupID is the workflow id of a group lifecycle: many payloads of one
// namespace, allocated on one host within one bucket of time. It is also the
// group's name in the catalog.
func GroupID(namespace, host, bucket string) string {
	return strings.Join([]string{"payloads", namespace, host, bucket}, ":")
}
