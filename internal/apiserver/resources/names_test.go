package resources

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// presented is how upstream names and shows each kind: short names, then
// categories, then the columns of kubectl get, those of -o wide with a plus.
const presented = `
admissionregistration.k8s.io/mutatingadmissionpolicies||api-extensions|Name,Mutations,ParamKind,Age
admissionregistration.k8s.io/mutatingadmissionpolicybindings||api-extensions|Name,PolicyName,ParamRef,Age
admissionregistration.k8s.io/mutatingwebhookconfigurations||api-extensions|Name,Webhooks,Age
admissionregistration.k8s.io/validatingadmissionpolicies||api-extensions|Name,Validations,ParamKind,Age
admissionregistration.k8s.io/validatingadmissionpolicybindings||api-extensions|Name,PolicyName,ParamRef,Age
admissionregistration.k8s.io/validatingwebhookconfigurations||api-extensions|Name,Webhooks,Age
apps/controllerrevisions|||Name,Controller,Revision,Age
apps/daemonsets|ds|all|Name,Desired,Current,Ready,Up-to-date,Available,Node Selector,Age,+Containers,+Images,+Selector
apps/deployments|deploy|all|Name,Ready,Up-to-date,Available,Age,+Containers,+Images,+Selector
apps/replicasets|rs|all|Name,Desired,Current,Ready,Age,+Containers,+Images,+Selector
apps/statefulsets|sts|all|Name,Ready,Age,+Containers,+Images
autoscaling/horizontalpodautoscalers|hpa|all|Name,Reference,Targets,MinPods,MaxPods,Replicas,Age
batch/cronjobs|cj|all|Name,Schedule,Timezone,Suspend,Active,Last Schedule,Age,+Containers,+Images,+Selector
batch/jobs||all|Name,Status,Completions,Duration,Age,+Containers,+Images,+Selector
certificates.k8s.io/certificatesigningrequests|csr||Name,Age,SignerName,Requestor,RequestedDuration,Condition
certificates.k8s.io/clustertrustbundles|||Name,SignerName
certificates.k8s.io/podcertificaterequests|||Name,PodName,ServiceAccountName,NodeName,SignerName,State,UnverifiedUserAnnotations
coordination.k8s.io/leasecandidates|||Name,LeaseName,BinaryVersion,EmulationVersion,Strategy,Age
coordination.k8s.io/leases|||Name,Holder,Age
core/configmaps|cm||Name,Data,Age
core/endpoints|ep||Name,Endpoints,Age
core/events|ev||Last Seen,Type,Reason,Object,+Subobject,+Source,Message,+First Seen,+Count,+Name
core/limitranges|limits||
core/namespaces|ns||Name,Status,Age
core/nodes|no||Name,Status,Roles,Age,Version,+Internal-IP,+External-IP,+OS-Image,+Kernel-Version,+Container-Runtime
core/persistentvolumeclaims|pvc||Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,+VolumeMode
core/persistentvolumes|pv||Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age,+VolumeMode
core/pods|po|all|Name,Ready,Status,Restarts,Age,+IP,+Node,+Nominated Node,+Readiness Gates
core/podtemplates|||Name,Containers,Images,Pod Labels
core/replicationcontrollers|rc|all|Name,Desired,Current,Ready,Age,+Containers,+Images,+Selector
core/resourcequotas|quota||Name,Request,Limit,Age
core/secrets|||Name,Type,Data,Age
core/serviceaccounts|sa||Name,Age
core/services|svc|all|Name,Type,Cluster-IP,External-IP,Port(s),Age,+Selector
discovery.k8s.io/endpointslices|||Name,AddressType,Ports,Endpoints,Age
flowcontrol.apiserver.k8s.io/flowschemas|||Name,PriorityLevel,MatchingPrecedence,DistinguisherMethod,Age,MissingPL
flowcontrol.apiserver.k8s.io/prioritylevelconfigurations|||Name,Type,NominalConcurrencyShares,Queues,HandSize,QueueLengthLimit,Age
networking.k8s.io/ingressclasses|||Name,Controller,Parameters,Age
networking.k8s.io/ingresses|ing||Name,Class,Hosts,Address,Ports,Age
networking.k8s.io/ipaddresses|ip||Name,ParentRef
networking.k8s.io/networkpolicies|netpol||Name,Pod-Selector,Age
networking.k8s.io/servicecidrs|||Name,CIDRs,Age
node.k8s.io/runtimeclasses|||Name,Handler,Age
policy/poddisruptionbudgets|pdb||Name,Min Available,Max Unavailable,Allowed Disruptions,Age
rbac.authorization.k8s.io/clusterrolebindings|||Name,Role,Age,+Users,+Groups,+ServiceAccounts
rbac.authorization.k8s.io/clusterroles|||
rbac.authorization.k8s.io/rolebindings|||Name,Role,Age,+Users,+Groups,+ServiceAccounts
rbac.authorization.k8s.io/roles|||
resource.k8s.io/deviceclasses|||Name,Age
resource.k8s.io/devicetaintrules|||Name,Key,Value,Effect,TimeAdded,Age
resource.k8s.io/resourceclaims|||Name,State,Age
resource.k8s.io/resourceclaimtemplates|||Name,Age
resource.k8s.io/resourceslices|||Name,Node,Driver,Pool,Age
scheduling.k8s.io/priorityclasses|pc||Name,Value,Global-Default,Age,PreemptionPolicy
storage.k8s.io/csidrivers|||Name,AttachRequired,PodInfoOnMount,StorageCapacity,TokenRequests,RequiresRepublish,Modes,Age
storage.k8s.io/csinodes|||Name,Drivers,Age
storage.k8s.io/csistoragecapacities|||
storage.k8s.io/storageclasses|sc||Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age
storage.k8s.io/volumeattachments|||Name,Attacher,PV,Node,Attached,Age
storage.k8s.io/volumeattributesclasses|vac||Name,DriverName,Age
storagemigration.k8s.io/storageversionmigrations|||Name,Resource,Status
`

func TestNamesAndColumns(t *testing.T) {
	want := map[string]string{}
	for line := range strings.Lines(strings.TrimSpace(presented)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "|")
		want[name] = rest
	}
	got := map[string]string{}
	for _, r := range Table() {
		group := r.GroupVersion.Group
		if group == "" {
			group = "core"
		}
		var columns []string
		for _, c := range r.Columns {
			name := c.Name
			if c.Priority > 0 {
				name = "+" + name
			}
			columns = append(columns, name)
		}
		// Kinds that are not settled upstream are not listed.
		if name := group + "/" + r.Plural; want[name] != "" {
			got[name] = strings.Join([]string{strings.Join(r.ShortNames, ","), strings.Join(r.Categories, ","), strings.Join(columns, ",")}, "|")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
