package api

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// kinds are what a cluster must serve, by group version: what workloads, Helm
// charts and operators of the day are made of.
func kinds() map[string]string {
	return map[string]string{
		"v1": "bindings configmaps endpoints events limitranges namespaces namespaces/finalize namespaces/status nodes nodes/proxy nodes/status " +
			"persistentvolumeclaims persistentvolumeclaims/status persistentvolumes persistentvolumes/status pods pods/attach pods/binding " +
			"pods/ephemeralcontainers pods/eviction pods/exec pods/log pods/portforward pods/proxy pods/resize pods/status podtemplates " +
			"replicationcontrollers replicationcontrollers/scale replicationcontrollers/status resourcequotas resourcequotas/status secrets " +
			"serviceaccounts serviceaccounts/token services services/proxy services/status componentstatuses",
		"apps/v1": "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets " +
			"replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
		"batch/v1":                        "cronjobs cronjobs/status jobs jobs/status",
		"autoscaling/v1":                  "horizontalpodautoscalers horizontalpodautoscalers/status",
		"autoscaling/v2":                  "horizontalpodautoscalers horizontalpodautoscalers/status",
		"policy/v1":                       "poddisruptionbudgets poddisruptionbudgets/status",
		"networking.k8s.io/v1":            "ingressclasses ingresses ingresses/status ipaddresses networkpolicies servicecidrs servicecidrs/status",
		"discovery.k8s.io/v1":             "endpointslices",
		"coordination.k8s.io/v1":          "leases",
		"events.k8s.io/v1":                "events",
		"rbac.authorization.k8s.io/v1":    "clusterrolebindings clusterroles rolebindings roles",
		"storage.k8s.io/v1":               "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattachments/status volumeattributesclasses",
		"scheduling.k8s.io/v1":            "priorityclasses",
		"node.k8s.io/v1":                  "runtimeclasses",
		"certificates.k8s.io/v1":          "certificatesigningrequests certificatesigningrequests/approval certificatesigningrequests/status",
		"admissionregistration.k8s.io/v1": "mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicies/status validatingadmissionpolicybindings validatingwebhookconfigurations",
		"flowcontrol.apiserver.k8s.io/v1": "flowschemas flowschemas/status prioritylevelconfigurations prioritylevelconfigurations/status",
		"resource.k8s.io/v1":              "deviceclasses resourceclaims resourceclaims/status resourceclaimtemplates resourceslices",
		"authentication.k8s.io/v1":        "selfsubjectreviews tokenreviews",
		"authorization.k8s.io/v1":         "localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews",
		"apiextensions.k8s.io/v1":         "customresourcedefinitions customresourcedefinitions/status",
		"apiregistration.k8s.io/v1":       "apiservices apiservices/status",
	}
}

func TestDiscovery(t *testing.T) {
	s := apitest.Start(t)
	_, lists, err := s.Clientset().Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string][]string{}
	dyn := dynamic.NewForConfigOrDie(s.Config)
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			served[list.GroupVersion] = append(served[list.GroupVersion], r.Name)
			// Metrics have none, as metrics-server's: "pod" means the pod.
			nameless := !strings.Contains(r.Name, "/") && gv.Group != "metrics.k8s.io" && r.SingularName == ""
			if r.Kind == "" || len(r.Verbs) == 0 || nameless {
				t.Errorf("%s of %s is described by half: %+v", r.Name, list.GroupVersion, r)
			}
			if slices.Contains(r.Verbs, "list") {
				if _, err := dyn.Resource(gv.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{}); err != nil {
					t.Errorf("list %s of %s: %v", r.Name, list.GroupVersion, err)
				}
			}
		}
	}
	for gv, names := range kinds() {
		for name := range strings.FieldsSeq(names) {
			if !slices.Contains(served[gv], name) {
				t.Errorf("%s of %s is not served", name, gv)
			}
		}
	}
}

func TestDiscoveryWithoutAggregation(t *testing.T) {
	c := apitest.Start(t).Clientset().Discovery().WithLegacy()
	groups, err := c.ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for gv := range kinds() {
		if _, err := c.ServerResourcesForGroupVersion(gv); err != nil {
			t.Errorf("%s: %v", gv, err)
		}
	}
	if len(groups.Groups) < len(kinds())-1 {
		t.Errorf("only %d groups", len(groups.Groups))
	}
}
