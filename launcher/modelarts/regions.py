"""Huawei Cloud's regions that have ModelArts, and the endpoints that follow from a region's id.

The ids and the one odd domain are those of huaweicloudsdkmodelarts 3.1.219 (``v1/region/modelarts_region.py``); the
names are the console's, where they are known.
"""

from __future__ import annotations

from launcher.errors import UsageError, nearest

REGIONS = {
    "cn-north-1": "CN North-Beijing1 华北-北京一",
    "cn-north-2": "",
    "cn-north-4": "CN North-Beijing4 华北-北京四",
    "cn-north-9": "CN North-Ulanqab1 华北-乌兰察布一",
    "cn-north-11": "",
    "cn-north-12": "",
    "cn-south-1": "CN South-Guangzhou 华南-广州",
    "cn-east-3": "CN East-Shanghai1 华东-上海一",
    "cn-east-4": "",
    "cn-southwest-2": "CN Southwest-Guiyang1 西南-贵阳一",
    "cn-southwest-3": "",
    "ap-southeast-1": "CN-Hong Kong 中国-香港",
    "ap-southeast-2": "AP-Bangkok 亚太-曼谷",
    "ap-southeast-3": "AP-Singapore 亚太-新加坡",
    "ap-southeast-4": "AP-Jakarta 亚太-雅加达",
    "la-south-2": "LA-Santiago 拉美-圣地亚哥",
    "la-north-2": "LA-Mexico City2 拉美-墨西哥城二",
    "sa-brazil-1": "LA-Sao Paulo1 拉美-圣保罗一",
    "af-south-1": "AF-Johannesburg 非洲-约翰内斯堡",
    "af-north-1": "AF-Cairo 非洲-开罗",
    "tr-west-1": "TR-Istanbul 土耳其-伊斯坦布尔",
    "me-east-1": "ME-Riyadh 中东-利雅得",
}
"""Id -> the console's names, empty where they are not known."""
_DOMAINS = {("modelarts", "ap-southeast-1"): "myhuaweicloud.cn"}


def endpoint_of(service: str, region: str) -> str:
    """``https://modelarts.cn-north-4.myhuaweicloud.com``; UsageError for a region that is none of Huawei's."""
    if region not in REGIONS:
        hint = nearest(region, REGIONS) + " A private cloud: python -m launcher config init --modelarts-endpoint URL"
        raise UsageError(f"Huawei Cloud has no region {region!r} with ModelArts", hint)
    return f"https://{service}.{region}.{_DOMAINS.get((service, region), 'myhuaweicloud.com')}"
