package apiserver

import (
	"context"
	"net/http"
	goruntime "runtime"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	endpointsrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"

	"github.com/sinawi/sinawi/internal/apiserver/answer"
	"github.com/sinawi/sinawi/internal/apiserver/stack"
)

// chain is what every request passes on its way to handler, the last first: the
// filters of k8s.io/apiserver in its order, less what nobody uses here and a small
// request pays dearly for. Those are spans for a tracer that is never there, a watch on
// each filter's time with a copy of the request, and the goroutine that short requests
// are handed to (see [answer]): a quarter of the CPU time of a get.
func chain(handler http.Handler, c *genericapiserver.Config) http.Handler {
	handler = filters.WithAuthorization(handler, timedAuthorizer{c.Authorization.Authorizer}, c.Serializer)
	handler = genericfilters.WithPriorityAndFairness(handler, c.LongRunningFunc, c.FlowControl, work(c), c.RequestTimeout/4)
	handler = impersonation.WithConstrainedImpersonation(handler, c.Authorization.Authorizer, c.Serializer)
	handler = filters.WithAudit(handler, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc)
	unknown := filters.WithFailedAuthenticationAudit(filters.Unauthorized(c.Serializer), c.AuditBackend, c.AuditPolicyRuleEvaluator)
	handler = filters.WithAuthentication(handler, timedAuthenticator(c.Authentication.Authenticator), unknown,
		c.Authentication.APIAudiences, c.Authentication.RequestHeaderConfig)
	handler = filters.WithWarningRecorder(handler)
	handler = answer.Carry(handler, answer.Options{LongRunning: c.LongRunningFunc, Turns: goruntime.GOMAXPROCS(0) - 1})
	handler = filters.WithRequestDeadline(handler, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	handler = genericfilters.WithWaitGroup(handler, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	handler = genericfilters.WithWatchTerminationDuringShutdown(handler, shutdown(c.ShutdownInitiatedNotify()), c.WatchRequestWaitGroup)
	handler = filters.WithCacheControl(handler)
	handler = genericfilters.WithHTTPLogging(handler)
	handler = filters.WithLatencyTrackers(handler)
	handler = filters.WithRequestInfo(handler, c.RequestInfoResolver)
	handler = filters.WithRequestReceivedTimestamp(handler)
	handler = genericfilters.WithPanicRecovery(handler, c.RequestInfoResolver)
	handler = filters.WithAuditInit(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stack.Grow()
		handler.ServeHTTP(w, r)
	})
}

// work estimates how many seats of its priority level a request takes. A list takes as
// many as its size says: upstream's bound, 15 % of the level's seats, is meant for a
// server with hundreds of them. Of the ten that a level has here, it let five lists run
// that each keep a processor busy, and nothing beside them.
func work(c *genericapiserver.Config) request.WorkEstimatorFunc {
	estimator := func(most func(string) uint64) request.WorkEstimatorFunc {
		return request.NewWorkEstimator(c.StorageObjectCountTracker.Get, c.FlowControl.GetInterestedWatchCount,
			request.DefaultWorkEstimatorConfig(), most)
	}
	lists, others := estimator(func(string) uint64 { return 0 }), estimator(c.FlowControl.GetMaxSeats)
	return func(r *http.Request, schema, level string) request.WorkEstimate {
		if info, ok := endpointsrequest.RequestInfoFrom(r.Context()); ok && info.Verb == "list" {
			return lists(r, schema, level)
		}
		return others(r, schema, level)
	}
}

// shutdown tells watches that the server ends.
type shutdown <-chan struct{}

func (s shutdown) ShuttingDown() <-chan struct{} { return s }

// The filters whose time is worth a metric: others only look at the request.

func timedAuthenticator(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		defer timed(r.Context(), "authentication", time.Now())
		return next.AuthenticateRequest(r)
	})
}

type timedAuthorizer struct{ authorizer.Authorizer }

func (t timedAuthorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	defer timed(ctx, "authorization", time.Now())
	return t.Authorizer.Authorize(ctx, a)
}

func timed(ctx context.Context, filter string, began time.Time) {
	metrics.RecordFilterLatency(ctx, filter, time.Since(began))
}
